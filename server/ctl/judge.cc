#include "ctl/judge.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"

namespace ecom::ctl {
namespace {

using coupon::RequestId;
using coupon::UserId;
using Users = absl::btree_set<UserId>;

/// Collects what is wrong; says nothing of users that are none.
class Findings {
 public:
  void Add(std::string invariant, std::string what, const Users& users) {
    if (users.empty()) return;
    found_.push_back({std::move(invariant), std::move(what), {users.begin(), users.end()}});
  }
  void AddNumber(std::string invariant, std::string what) {
    found_.push_back({std::move(invariant), std::move(what), {}});
  }
  std::vector<Finding> Take() { return std::move(found_); }

 private:
  std::vector<Finding> found_;
};

Users Difference(const Users& left, const Users& right) {
  Users only_left;
  std::set_difference(left.begin(), left.end(), right.begin(), right.end(),
                      std::inserter(only_left, only_left.end()));
  return only_left;
}

void JudgeRows(const coupon::CouponRecords& records, Findings& findings) {
  Users twice, malformed, sharing;
  absl::btree_map<UserId, int> rows_of;
  absl::btree_map<RequestId, Users> users_of;
  for (const coupon::RecordedIssue& row : records.rows) {
    if (++rows_of[row.user] > 1) twice.insert(row.user);
    if (row.request) {
      users_of[*row.request].insert(row.user);
    } else {
      malformed.insert(row.user);
    }
  }
  for (const auto& [request, users] : users_of) {
    if (users.size() > 1) sharing.insert(users.begin(), users.end());
  }
  findings.Add("I2", "more than one row", twice);
  findings.Add("I2", "the row has a malformed request id", malformed);
  findings.Add("I2", "the row shares its request id with another row", sharing);

  if (!records.coupon) {
    findings.AddNumber("I3", "there is no such coupon");
    return;
  }
  const int64_t rows = static_cast<int64_t>(records.rows.size());
  const int64_t total = records.coupon->total_quantity;
  if (rows > total) {
    findings.AddNumber("I3", absl::StrCat("over-issued: ", rows, " rows for a total of ", total));
  }
  if (records.coupon->available_quantity != total - rows) {
    findings.AddNumber("I3", absl::StrCat("available is ", records.coupon->available_quantity,
                                          ", and total less rows is ", total - rows));
  }
}

/// A gate of another generation is closed to every claim, however whole it is.
void JudgeGeneration(const CouponFacts& facts, Findings& findings) {
  if (!facts.records.coupon) return;
  const coupon::Generation valid = facts.records.coupon->gate_generation;
  if (facts.gate->generation == valid) return;
  findings.AddNumber("I7", absl::StrCat("the gate is at generation ", facts.gate->generation.value,
                                        ", and ", valid.value, " is the valid one"));
}

void JudgeGate(const CouponFacts& facts, const Users& rows, Findings& findings) {
  Users rejected;
  for (const coupon::RecordedRejection& rejection : facts.records.rejections) {
    rejected.insert(rejection.user);
  }
  findings.Add("I7", "rejected by the store after the gate had admitted it", rejected);
  if (!facts.gate) {
    if (facts.gate_expected) findings.AddNumber("I7", "there is no gate");
    return;
  }
  if (facts.participants_known) {
    const Users participants(facts.participants.begin(), facts.participants.end());
    const Users excused = facts.quiet ? Users() : facts.on_their_way;
    findings.Add("I7", "a participant of the gate, and there is no row",
                 Difference(Difference(participants, rows), excused));
    findings.Add("I7", "a row, and no participant of the gate", Difference(rows, participants));
    if (!facts.foreign_participants.empty()) {
      findings.AddNumber("I7", absl::StrCat(facts.foreign_participants.size(),
                                            " members of the gate are no users"));
    }
  }
  if (!facts.gate->open) findings.AddNumber("I7", "the gate is closed");
  JudgeGeneration(facts, findings);
  if (!facts.quiet) return;
  if (facts.gate->reservations != 0) {
    Users left;
    for (const coupon::Reservation& reservation : facts.reservations) {
      left.insert(reservation.claim.holder.user);
    }
    findings.Add("I7", "a reservation is left", left);
    if (static_cast<int64_t>(left.size()) != facts.gate->reservations) {
      findings.AddNumber("I7", absl::StrCat(facts.gate->reservations, " reservations are left"));
    }
  }
  if (facts.records.coupon && facts.gate->stock != facts.records.coupon->available_quantity) {
    findings.AddNumber(
        "I7", absl::StrCat("the gate's stock is ", facts.gate->stock, ", and available is ",
                           facts.records.coupon->available_quantity));
  }
}

/// Whoever has a place by this key is never a duplicate with it, not even of a concurrent twin.
bool IsBroken(const ToldKey& key) {
  const bool refused = key.duplicate || key.refused_after_ns > key.queued_by_ns;
  return key.queued.size() > 1 || (!key.queued.empty() && refused);
}

/// A key that was never QUEUED is a duplicate only of another request.
bool IsDuplicateOfNothing(const ToldUser& told) {
  return told.keys.size() == 1 && told.keys.begin()->second.duplicate && !told.asked_without_key;
}

/// One key that is sent again gets its QUEUED again; every other request had to be refused.
bool IsPromisedTwice(const ToldUser& told) {
  int64_t promises = told.queued_without_key;
  for (const auto& [key, answers] : told.keys) promises += answers.queued.empty() ? 0 : 1;
  return promises > 1;
}

void JudgeTold(const CouponFacts& facts, const Users& rows, Findings& findings) {
  absl::btree_map<UserId, std::string> request_of;
  for (const coupon::RecordedIssue& row : facts.records.rows) {
    request_of[row.user] = row.request ? row.request->ToString() : "";
  }
  Users lost, promised_twice, two_ids, other_id, duplicate_without_row, asked, key_broken;
  for (const auto& [user, told] : facts.told->users) {
    if (!told.queued.empty() || told.indeterminate) asked.insert(user);
    const auto row = request_of.find(user);
    if (IsDuplicateOfNothing(told)) key_broken.insert(user);
    for (const auto& [key, answers] : told.keys) {
      if (IsBroken(answers)) key_broken.insert(user);
    }
    if (told.duplicate && row == request_of.end()) duplicate_without_row.insert(user);
    if (told.queued.empty()) continue;
    if (row == request_of.end()) lost.insert(user);
    if (IsPromisedTwice(told)) promised_twice.insert(user);
    if (told.queued.size() > 1) two_ids.insert(user);
    if (row != request_of.end() && told.queued.size() == 1 && told.queued[0] != row->second) {
      other_id.insert(user);
    }
  }
  if (facts.told->queued == 0) {
    findings.AddNumber("I1", "nothing was accepted at all: such a run proves nothing");
  }
  if (facts.quiet) findings.Add("I1", "lost: answered QUEUED, and there is no row", lost);
  findings.Add("I2", "answered QUEUED more than once, without sending one key again",
               promised_twice);
  findings.Add("I2", "answered QUEUED with more than one request id", two_ids);
  findings.Add("I2", "the row has another request id than the answer", other_id);
  findings.Add("I4", "a row, and neither QUEUED nor an unknown outcome", Difference(rows, asked));
  findings.Add("P5", "one key, and not the same QUEUED each time", key_broken);
  if (!facts.quiet) return;
  findings.Add("I6", "refused as a duplicate, and there is no row", duplicate_without_row);
  const int64_t total = facts.records.coupon ? facts.records.coupon->total_quantity : 0;
  const int64_t row_count = static_cast<int64_t>(facts.records.rows.size());
  if (facts.told->sold_out > 0 && row_count < total) {
    findings.AddNumber(
        "I5", absl::StrCat("answered sold out ", facts.told->sold_out, " times, and ", row_count,
                           " rows for a total of ", total));
  }
}

void JudgeFeed(const CouponFacts& facts, Findings& findings) {
  Users silent, unfounded;
  absl::btree_set<Announcement> rows;
  for (const coupon::RecordedIssue& row : facts.records.rows) {
    if (!row.request) continue;
    const Announcement announcement = {row.user, *row.request};
    rows.insert(announcement);
    if (!facts.announced->contains(announcement)) silent.insert(row.user);
  }
  for (const Announcement& announcement : *facts.announced) {
    if (!rows.contains(announcement)) unfounded.insert(announcement.first);
  }
  if (!facts.quiet) return;
  findings.Add("I8", "a row that was not announced", silent);
  findings.Add("I8", "announced, and there is no such row", unfounded);
}

}  // namespace

std::vector<Finding> Judge(const CouponFacts& facts) {
  Users rows;
  for (const coupon::RecordedIssue& row : facts.records.rows) rows.insert(row.user);
  Findings findings;
  JudgeRows(facts.records, findings);
  JudgeGate(facts, rows, findings);
  if (facts.told) JudgeTold(facts, rows, findings);
  if (facts.announced) JudgeFeed(facts, findings);
  return findings.Take();
}

std::vector<InvariantLine> Summarize(const CouponFacts& facts,
                                     const std::vector<Finding>& findings) {
  const std::optional<coupon::Coupon>& coupon = facts.records.coupon;
  const size_t rows = facts.records.rows.size();
  const std::string on_the_way = "claims are on their way";
  const std::string no_journal = "needs --journal";
  std::vector<InvariantLine> lines;
  // `needs_quiet`: its absence could be cured by what is on its way.
  const auto add = [&](const char* invariant, bool judged, bool needs_quiet, std::string text) {
    InvariantLine line = {.invariant = invariant, .text = std::move(text)};
    const bool broken = std::any_of(findings.begin(), findings.end(), [&](const Finding& finding) {
      return finding.invariant == invariant;
    });
    if (broken) {
      line.holding = Holding::kBroken;
    } else if (!judged) {
      line.holding = Holding::kNotJudged;
    } else if (needs_quiet && !facts.quiet) {
      line.holding = Holding::kNotYetKnown;
    }
    lines.push_back(std::move(line));
  };
  const bool told = facts.told.has_value();
  size_t promised = 0, duplicates = 0, keys = 0;
  if (told) {
    for (const auto& [user, of_user] : facts.told->users) {
      promised += of_user.queued.empty() ? 0 : 1;
      duplicates += of_user.duplicate ? 1 : 0;
      keys += of_user.keys.size();
    }
  }
  add("I1", told, true, told ? absl::StrCat(promised, " users were promised one") : no_journal);
  add("I2", true, false, absl::StrCat(rows, " rows, each of another user and request"));
  add("I3", true, false,
      absl::StrCat(rows, " rows and ", coupon ? coupon->available_quantity : 0,
                   " available of a total of ", coupon ? coupon->total_quantity : 0));
  add("I4", told, false, told ? absl::StrCat(rows, " rows were asked for") : no_journal);
  add("I5", told, told && facts.told->sold_out > 0,
      told ? absl::StrCat(facts.told->sold_out, " times sold out") : no_journal);
  add("I6", told, duplicates > 0,
      told ? absl::StrCat(duplicates, " users were told that they have it") : no_journal);
  add("I7", facts.gate_seen, true,
      facts.gate
          ? absl::StrCat("the gate holds ", facts.gate->stock, " units, ", facts.gate->participants,
                         " participants, ", facts.gate->reservations, " reservations; ",
                         facts.records.rejections.size(), " rejections")
          : absl::StrCat(facts.gate_seen ? "no gate now; " : "the gate is in the server; ",
                         facts.records.rejections.size(), " rejections"));
  add("I8", facts.announced.has_value(), true,
      facts.announced ? absl::StrCat(facts.announced->size(), " requests were announced")
                      : (told ? "the feed is not whole" : no_journal));
  add("P5", told, false, told ? absl::StrCat(keys, " keys") : no_journal);
  for (InvariantLine& line : lines) {
    if (line.holding == Holding::kNotYetKnown)
      line.text = absl::StrCat(line.text, "; ", on_the_way);
  }
  return lines;
}

}  // namespace ecom::ctl
