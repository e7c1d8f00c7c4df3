#include "ctl/letters.h"

#include <algorithm>
#include <limits>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "adapters/kafka/dead_letters.h"
#include "adapters/mysql/settled_letters.h"
#include "base/status_macros.h"
#include "ctl/text.h"

namespace ecom::ctl {
namespace {

using adapters::kafka::DeadLetter;
using adapters::kafka::DeadLetterBox;
using adapters::mysql::MysqlSettledLetters;
using adapters::mysql::SettledLetter;
using coupon::AdmittedClaim;
using nlohmann::ordered_json;

constexpr size_t kLettersMax = 10'000;

/// A letter by its place, and how it was dealt with.
struct Listed {
  DeadLetter letter;  ///< without its payload
  size_t payload_bytes = 0;
  std::optional<SettledLetter> settled;
};

struct Listing {
  std::vector<Listed> letters;
  bool more = false;  ///< there are more letters than these
};

/// How the place of a letter is written.
std::string NameOf(const DeadLetter& letter) {
  return absl::StrCat(letter.partition, "/", letter.position);
}

absl::StatusOr<std::unique_ptr<DeadLetterBox>> OpenBox(app::StackBacking& stack) {
  return DeadLetterBox::Create({.brokers = stack.brokers()});
}

absl::StatusOr<std::optional<SettledLetter>> FindSettled(MysqlSettledLetters& settled,
                                                         const DeadLetter& letter) {
  ASSIGN_OR_RETURN(const auto found,
                   settled.Between(letter.partition, letter.position, letter.position + 1));
  if (found.empty()) return std::nullopt;
  return found.front();
}

/// Which letters are dealt with: one query a partition.
absl::StatusOr<std::map<std::pair<coupon::LogPartition, coupon::LogPosition>, SettledLetter>>
ReadSettled(MysqlSettledLetters& settled, const adapters::kafka::LetterRange& range) {
  std::map<std::pair<coupon::LogPartition, coupon::LogPosition>, SettledLetter> all;
  for (const auto& [partition, begin] : range.begins) {
    ASSIGN_OR_RETURN(const auto found, settled.Between(partition, begin, range.ends.at(partition)));
    for (const SettledLetter& letter : found) all[{partition, letter.position}] = letter;
  }
  return all;
}

absl::StatusOr<Listing> ReadListing(DeadLetterBox& box, MysqlSettledLetters& settled,
                                    bool with_settled) {
  ASSIGN_OR_RETURN(const adapters::kafka::LetterRange range, box.Range());
  ASSIGN_OR_RETURN(const auto known, ReadSettled(settled, range));
  Listing listing;
  RETURN_IF_ERROR(box.Visit({}, [&](DeadLetter&& letter) {
    const auto found = known.find({letter.partition, letter.position});
    if (found != known.end() && !with_settled) return true;
    listing.more = listing.letters.size() >= kLettersMax;
    if (listing.more) return false;
    Listed& listed = listing.letters.emplace_back();
    listed.payload_bytes = letter.payload.size();
    if (found != known.end()) listed.settled = found->second;
    letter.payload = {};
    if (auto* malformed = std::get_if<coupon::Malformed>(&letter.record.record)) {
      malformed->payload = {};
    }
    listed.letter = std::move(letter);
    return true;
  }));
  return listing;
}

/// What the record was, in few words.
std::string ContentOf(const DeadLetter& letter) {
  if (const auto* claim = std::get_if<AdmittedClaim>(&letter.record.record)) {
    return absl::StrCat("claim of user ", claim->holder.user.value, " on coupon ",
                        claim->holder.coupon.value);
  }
  if (const auto* barrier = std::get_if<coupon::Barrier>(&letter.record.record)) {
    return absl::StrCat("barrier of coupon ", barrier->coupon.value);
  }
  return "none of ours";
}

ordered_json JsonOf(const Listed& listed) {
  const DeadLetter& letter = listed.letter;
  ordered_json json = {{"partition", letter.partition},
                       {"offset", letter.position},
                       {"kept_at", TimeText(letter.kept_at)},
                       {"reason", letter.reason},
                       {"origin_topic", letter.origin_topic},
                       {"origin_partition", letter.record.partition},
                       {"origin_offset", letter.record.position},
                       {"content", ContentOf(letter)},
                       {"key", letter.key},
                       {"payload_bytes", listed.payload_bytes},
                       {"cut", letter.cut}};
  if (const auto* claim = std::get_if<AdmittedClaim>(&letter.record.record)) {
    json["claim"] = {
        {"coupon", claim->holder.coupon.value},    {"user", claim->holder.user.value},
        {"request_id", claim->request.ToString()}, {"incarnation", claim->incarnation},
        {"generation", claim->generation.value},   {"claimed_at", TimeText(claim->claimed_at)}};
  }
  if (listed.settled) {
    json["settled_as"] = listed.settled->settled_as;
    json["settled_at"] = TimeText(listed.settled->settled_at);
  }
  return json;
}

std::string Dump(const ordered_json& json) {
  // Keys and reasons may hold any bytes.
  return absl::StrCat(json.dump(2, ' ', false, ordered_json::error_handler_t::replace), "\n");
}

void Say(const Listed& listed, std::ostream& out) {
  const DeadLetter& letter = listed.letter;
  out << NameOf(letter) << "  " << TimeText(letter.kept_at) << "  from "
      << Shown(letter.origin_topic) << "/" << letter.record.partition << "/"
      << letter.record.position << "  " << ContentOf(letter) << ": " << Shown(letter.reason);
  if (listed.settled) {
    out << "  (" << listed.settled->settled_as << " at " << TimeText(listed.settled->settled_at)
        << ")";
  }
  out << "\n";
}

void SayCount(size_t letters, bool more, std::ostream& out) {
  out << letters << (more ? " and more" : "")
      << (letters == 1 ? " dead letter\n" : " dead letters\n");
}

absl::StatusOr<DeadLetter> FindLetter(DeadLetterBox& box, const CommandLine& line) {
  ASSIGN_OR_RETURN(const int64_t offset, line.Number("offset"));
  ASSIGN_OR_RETURN(const int64_t partition, line.Number("partition", 0));
  const absl::Status unknown =
      absl::NotFoundError(absl::StrCat("there is no dead letter ", partition, "/", offset));
  // Cut short, the number would be another partition's.
  if (partition > std::numeric_limits<coupon::LogPartition>::max()) return unknown;
  auto letter = box.Find(static_cast<coupon::LogPartition>(partition), offset);
  return absl::IsNotFound(letter.status()) ? unknown : std::move(letter);
}

/// Replays or discards one letter, and says so. The letter must have its payload.
absl::Status SettleOne(DeadLetterBox& box, MysqlSettledLetters& settled, const DeadLetter& letter,
                       bool replay, std::ostream& out) {
  ASSIGN_OR_RETURN(const std::optional<SettledLetter> before, FindSettled(settled, letter));
  if (before) {
    out << NameOf(letter) << " was " << before->settled_as << " at " << TimeText(before->settled_at)
        << "; nothing was done\n";
    return absl::OkStatus();
  }
  if (replay) RETURN_IF_ERROR(box.Replay(letter));
  RETURN_IF_ERROR(
      settled.Settle(letter.partition, letter.position, replay ? "replayed" : "discarded"));
  out << (replay ? "replayed " : "discarded ") << NameOf(letter) << ", " << ContentOf(letter)
      << ": " << Shown(letter.reason) << "\n";
  if (replay && std::holds_alternative<coupon::Malformed>(letter.record.record)) {
    out << "  If it still is none of ours, it comes back as another letter.\n";
  }
  return absl::OkStatus();
}

/// A letter with all that it holds: one at a time, as its payload may be long.
absl::StatusOr<Exit> SettleAll(DeadLetterBox& box, MysqlSettledLetters& settled, bool replay,
                               std::ostream& out) {
  ASSIGN_OR_RETURN(const Listing listing, ReadListing(box, settled, /*with_settled=*/false));
  Exit exit = Exit::kClean;
  for (const Listed& listed : listing.letters) {
    ASSIGN_OR_RETURN(const DeadLetter letter,
                     box.Find(listed.letter.partition, listed.letter.position));
    const absl::Status done = SettleOne(box, settled, letter, replay, out);
    if (absl::IsFailedPrecondition(done)) {
      out << NameOf(letter) << " stays: " << std::string(done.message()) << "\n";
      exit = Exit::kBroken;
      continue;
    }
    RETURN_IF_ERROR(done);
  }
  if (listing.letters.empty()) out << "no dead letters are left\n";
  if (listing.more) out << "there are more: run it again\n";
  return exit;
}

}  // namespace

absl::StatusOr<Exit> ListLetters(app::StackBacking& stack, const base::Clock& clock,
                                 const CommandLine& line, std::ostream& out) {
  ASSIGN_OR_RETURN(const auto box, OpenBox(stack));
  MysqlSettledLetters settled(stack.pool(), clock);
  ASSIGN_OR_RETURN(const Listing listing, ReadListing(*box, settled, line.Has("all")));
  if (line.AsJson()) {
    ordered_json all = ordered_json::array();
    for (const Listed& listed : listing.letters) all.push_back(JsonOf(listed));
    out << Dump(all);
    return Exit::kClean;
  }
  for (const Listed& listed : listing.letters) Say(listed, out);
  SayCount(listing.letters.size(), listing.more, out);
  return Exit::kClean;
}

absl::StatusOr<Exit> ListLetters(adapters::embedded::EmbeddedCouponAudit& file,
                                 const CommandLine& line, std::ostream& out) {
  ASSIGN_OR_RETURN(const auto letters, file.ReadDeadLetters(0, static_cast<int>(kLettersMax)));
  ordered_json all = ordered_json::array();
  for (const adapters::embedded::KeptLetter& letter : letters) {
    all.push_back({{"partition", 0},
                   {"offset", letter.id},
                   {"reason", letter.reason},
                   {"origin_partition", 0},
                   {"origin_offset", letter.log_position},
                   {"key", letter.key},
                   {"payload_bytes", letter.payload.size()}});
    if (line.AsJson()) continue;
    out << "0/" << letter.id << "  from the log, position " << letter.log_position << "  "
        << Shown(letter.reason) << "\n";
  }
  if (line.AsJson()) {
    out << Dump(all);
  } else {
    SayCount(letters.size(), /*more=*/false, out);
  }
  return Exit::kClean;
}

absl::StatusOr<Exit> ShowLetter(app::StackBacking& stack, const base::Clock& clock,
                                const CommandLine& line, std::ostream& out) {
  ASSIGN_OR_RETURN(const auto box, OpenBox(stack));
  MysqlSettledLetters settled(stack.pool(), clock);
  Listed listed;
  ASSIGN_OR_RETURN(listed.letter, FindLetter(*box, line));
  ASSIGN_OR_RETURN(listed.settled, FindSettled(settled, listed.letter));
  listed.payload_bytes = listed.letter.payload.size();
  ordered_json json = JsonOf(listed);
  json["payload"] = listed.letter.payload;
  json["payload_base64"] = absl::Base64Escape(listed.letter.payload);
  out << Dump(json);
  return Exit::kClean;
}

absl::StatusOr<Exit> SettleLetters(app::StackBacking& stack, const base::Clock& clock,
                                   const CommandLine& line, std::ostream& out) {
  const bool replay = line.command == "dlt replay";
  if (line.Has("all") && line.Has("offset")) {
    return absl::InvalidArgumentError("--all or --offset, not both; see ecomctl --help");
  }
  ASSIGN_OR_RETURN(const auto box, OpenBox(stack));
  MysqlSettledLetters settled(stack.pool(), clock);
  if (line.Has("all")) return SettleAll(*box, settled, replay, out);
  ASSIGN_OR_RETURN(const DeadLetter letter, FindLetter(*box, line));
  RETURN_IF_ERROR(SettleOne(*box, settled, letter, replay, out));
  return Exit::kClean;
}

}  // namespace ecom::ctl
