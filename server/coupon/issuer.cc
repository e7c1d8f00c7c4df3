#include "coupon/issuer.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/failpoint.h"

namespace ecom::coupon {
namespace {

constexpr size_t kKeyLengthMax = 128;

bool IsVisibleAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x21 && c <= 0x7e; });
}

absl::Status Validate(const Holder& holder) {
  if (holder.coupon.value <= 0) return absl::InvalidArgumentError("coupon_id must be positive");
  if (holder.user.value <= 0) return absl::InvalidArgumentError("user_id must be positive");
  return absl::OkStatus();
}

absl::Status Validate(const IssueRequest& request) {
  if (request.idempotency_key &&
      (request.idempotency_key->empty() || request.idempotency_key->size() > kKeyLengthMax ||
       !IsVisibleAscii(*request.idempotency_key))) {
    return absl::InvalidArgumentError("idempotency_key must be 1 to 128 visible ASCII characters");
  }
  return Validate(request.holder);
}

/// Whether the coupon has a gate, or should have one.
bool IsArmable(const Coupon& coupon, absl::Time now) {
  return now >= coupon.starts_at && now < coupon.ends_at + kArmedPastEnd;
}

absl::Status Full() { return absl::UnavailableError("too many claims are waiting"); }

absl::Status Overloaded() { return absl::UnavailableError("more claims come than can be decided"); }

}  // namespace

struct Issuer::Pending {
  IssueRequest request;
  Done done;
  std::shared_ptr<const Coupon> coupon;
  RequestId id;
  std::optional<LoadShedder::Ticket> ticket;  // while it is on its way to gate and log
  absl::Duration gate_asked_at;               // monotonic
  bool armed_once = false;
  /// What to answer when the rows do not show that this is the same request again.
  IssueOutcome otherwise = IssueOutcome::kDuplicate;
};

/// A definition to load, and who waits for it: nobody, when it is only to be renewed.
struct Issuer::Load {
  CouponId id;
  PendingPtr pending;
};

struct Issuer::Query {
  Holder holder;
  FindDone done;
};

Issuer::Issuer(Options options, Deps deps)
    : options_(options),
      deps_(deps),
      shedder_({.wait_target = options.claim_wait_target,
                .claims_always = static_cast<int64_t>(options.batch_claims_max)},
               deps.clock),
      definitions_({"definitions", options.batch_claims_max, options.claims_waiting_max},
                   [this](std::vector<Load>& loads) { LoadDefinitions(loads); }),
      arming_({"arming", options.batch_claims_max, options.claims_arming_max},
              [this](std::vector<PendingPtr>& batch) { ArmThenAskAgain(batch); }),
      gate_({"gate", options.batch_claims_max, options.claims_waiting_max},
            [this](std::vector<PendingPtr>& batch) { AskGate(batch); }),
      rows_({"rows", options.batch_claims_max, options.claims_waiting_max},
            [this](std::vector<PendingPtr>& batch) { CompareWithRows(batch); }),
      queries_({"queries", options.batch_claims_max, options.claims_waiting_max},
               [this](std::vector<Query>& queries) { FindBatch(queries); }) {}

Issuer::~Issuer() { Stop(); }

void Issuer::Stop() {
  definitions_.Stop();
  arming_.Stop();
  gate_.Stop();
  rows_.Stop();
  queries_.Stop();
}

void Issuer::Issue(IssueRequest request, Done done) {
  counters_.requested.fetch_add(1, std::memory_order_relaxed);
  if (absl::Status valid = Validate(request); !valid.ok()) return done(std::move(valid));

  const CouponId id = request.holder.coupon;
  auto pending = std::make_unique<Pending>();
  pending->request = std::move(request);
  pending->done = std::move(done);
  std::optional<CouponDirectory::Found> found = deps_.directory.Find(id);
  if (!found) {
    Load load{.id = id, .pending = std::move(pending)};
    if (!definitions_.Add(std::move(load))) {
      counters_.full.fetch_add(1, std::memory_order_relaxed);
      Answer(std::move(load.pending), Full());
    }
    return;
  }
  if (found->reload) {
    // Full: then another one renews it; the known definition serves meanwhile.
    (void)definitions_.Add(Load{.id = id, .pending = nullptr});
  }
  Enter(std::move(pending), std::move(found->coupon));
}

void Issuer::LoadDefinitions(std::vector<Load>& loads) {
  std::vector<CouponId> ids;
  for (const Load& load : loads) ids.push_back(load.id);
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  const absl::Status loaded = deps_.directory.Load(ids);
  for (Load& load : loads) {
    if (load.pending == nullptr) continue;
    std::optional<CouponDirectory::Found> found = deps_.directory.Find(load.id);
    if (!found) {
      Answer(std::move(load.pending),
             loaded.ok() ? absl::UnavailableError("the coupon's definition was not kept") : loaded);
      continue;
    }
    Enter(std::move(load.pending), std::move(found->coupon));
  }
}

/// The definition is known: gives the claim its request id and sends it to the stage that decides.
void Issuer::Enter(PendingPtr pending, std::shared_ptr<const Coupon> coupon) {
  if (coupon == nullptr) {
    return Answer(std::move(pending), IssueAnswer{.outcome = IssueOutcome::kUnknownCoupon});
  }
  const IssueRequest& request = pending->request;
  pending->id =
      request.idempotency_key
          ? RequestId::ForKey(coupon->incarnation, request.holder.user, *request.idempotency_key)
          : RequestId::Random();
  pending->coupon = std::move(coupon);

  const absl::Time now = deps_.clock.Now();
  if (!IsArmable(*pending->coupon, now)) {
    // No gate is armed; but holders there may be, before the start too, when it was moved.
    pending->otherwise = IssueOutcome::kNotOpen;
    return Hand(rows_, std::move(pending));
  }
  HandToGate(std::move(pending));
}

/// Before the gate nothing is promised, so this is where overload is turned away.
void Issuer::HandToGate(PendingPtr pending) {
  pending->ticket = shedder_.TryEnter();
  if (!pending->ticket) return Answer(std::move(pending), Overloaded());
  Hand(gate_, std::move(pending));
}

void Issuer::LeaveGate(Pending& pending) {
  if (pending.ticket) shedder_.Leave(*std::exchange(pending.ticket, std::nullopt));
}

void Issuer::AskGate(std::vector<PendingPtr>& batch) {
  std::stable_sort(batch.begin(), batch.end(), [](const PendingPtr& a, const PendingPtr& b) {
    return a->coupon->id < b->coupon->id;
  });
  absl::Status gate_answers;
  for (size_t begin = 0; begin < batch.size();) {
    const CouponId id = batch[begin]->coupon->id;
    size_t end = begin + 1;
    while (end < batch.size() && batch[end]->coupon->id == id) ++end;
    const std::span<PendingPtr> claims = std::span(batch).subspan(begin, end - begin);
    begin = end;
    // A gate that stands still would be waited for again for each coupon.
    if (!gate_answers.ok()) {
      for (PendingPtr& pending : claims) {
        Answer(std::move(pending), absl::UnavailableError(gate_answers.message()));
      }
      continue;
    }
    std::vector<PendingPtr> group = DropWhatIsTooLate(claims);
    if (group.empty()) continue;
    // The newest definition of the group: it came in last.
    const std::shared_ptr<const Coupon> coupon = group.back()->coupon;
    const absl::Status asked = AskGateFor(*coupon, group);
    if (!absl::IsFailedPrecondition(asked)) gate_answers = asked;
  }
}

/// Answers those for whom nothing can be promised, and returns the others, whose time begins now.
std::vector<Issuer::PendingPtr> Issuer::DropWhatIsTooLate(std::span<PendingPtr> claims) {
  const absl::Status log_ready = deps_.log.Ready();
  const absl::Duration now = deps_.clock.Monotonic();
  std::vector<PendingPtr> group;
  for (PendingPtr& pending : claims) {
    if (!log_ready.ok()) {
      Answer(std::move(pending), log_ready);
    } else if (now >= pending->request.deadline) {
      Answer(std::move(pending), absl::DeadlineExceededError("expired before the gate was asked"));
    } else if (shedder_.ShouldDrop(*pending->ticket, pending->request.deadline)) {
      Answer(std::move(pending), Overloaded());
    } else {
      pending->gate_asked_at = now;
      group.push_back(std::move(pending));
    }
  }
  return group;
}

/// Returns what the gate returned; everybody is answered, or on the way.
absl::Status Issuer::AskGateFor(const Coupon& coupon, std::vector<PendingPtr>& group) {
  std::vector<Claim> claims;
  claims.reserve(group.size());
  for (const PendingPtr& pending : group) {
    claims.push_back({.holder = pending->request.holder, .request = pending->id});
  }
  base::Failpoint("issuer.before-gate", static_cast<int64_t>(group.size()));
  const std::unique_lock<std::mutex> order = OrderAdmissions();
  const absl::StatusOr<std::vector<Admission>> admissions = deps_.gate.Admit(coupon, claims);
  if (!admissions.ok()) {
    for (PendingPtr& pending : group) {
      if (absl::IsFailedPrecondition(admissions.status()) && !pending->armed_once) {
        pending->armed_once = true;
        LeaveGate(*pending);
        Hand(arming_, std::move(pending));
      } else if (absl::IsFailedPrecondition(admissions.status())) {
        Answer(std::move(pending), absl::UnavailableError(admissions.status().message()));
      } else {
        Answer(std::move(pending), admissions.status());
      }
    }
    return admissions.status();
  }
  base::Failpoint("issuer.after-gate");
  std::vector<ClaimWriter::Entry> entries;
  for (size_t i = 0; i < group.size(); ++i) {
    Decide(std::move(group[i]), (*admissions)[i], coupon, entries);
  }
  if (!entries.empty()) deps_.writer.Add(entries);
  return absl::OkStatus();
}

/// Answers what is settled; leaves in `entries` what must wait for the log.
void Issuer::Decide(PendingPtr pending, const Admission& admission, const Coupon& coupon,
                    std::vector<ClaimWriter::Entry>& entries) {
  switch (admission.verdict) {
    case Verdict::kBusy:
      return Answer(std::move(pending), absl::UnavailableError("the recorder lags too far behind"));
    case Verdict::kAdmitted:
    case Verdict::kReplay: {
      auto& counter =
          admission.verdict == Verdict::kAdmitted ? counters_.admitted : counters_.replayed;
      counter.fetch_add(1, std::memory_order_relaxed);
      AdmittedClaim claim{.holder = pending->request.holder,
                          .request = pending->id,
                          .incarnation = coupon.incarnation,
                          .generation = coupon.gate_generation,
                          .claimed_at = deps_.clock.Now(),
                          .trace_parent = std::move(pending->request.trace_parent)};
      entries.push_back(
          {.claim = std::move(claim),
           .settled = [this, pending = std::move(pending)](const absl::Status& durable) mutable {
             if (!durable.ok()) return Answer(std::move(pending), durable);
             if (deps_.clock.Monotonic() - pending->gate_asked_at > options_.ack_deadline) {
               return Answer(std::move(pending), absl::DeadlineExceededError(
                                                     "the log's acknowledgement came too late"));
             }
             const RequestId id = pending->id;
             Answer(std::move(pending),
                    IssueAnswer{.outcome = IssueOutcome::kQueued, .request = id});
           }});
      return;
    }
    case Verdict::kDuplicate:
      if (admission.recorded && pending->request.idempotency_key) {
        LeaveGate(*pending);
        return Hand(rows_, std::move(pending));
      }
      pending->otherwise = IssueOutcome::kDuplicate;
      break;
    case Verdict::kNotOpen: pending->otherwise = IssueOutcome::kNotOpen; break;
    case Verdict::kSoldOut: pending->otherwise = IssueOutcome::kSoldOut; break;
  }
  const IssueOutcome refusal = pending->otherwise;
  if (deps_.gate.Durable()) return Answer(std::move(pending), IssueAnswer{.outcome = refusal});
  entries.push_back({.claim = std::nullopt,
                     .settled = [this, refusal, pending = std::move(pending)](
                                    const absl::Status& durable) mutable {
                       if (!durable.ok()) return Answer(std::move(pending), durable);
                       Answer(std::move(pending), IssueAnswer{.outcome = refusal});
                     }});
}

void Issuer::ArmThenAskAgain(std::vector<PendingPtr>& batch) {
  absl::flat_hash_map<CouponId, absl::Status> armed;
  for (PendingPtr& pending : batch) {
    const CouponId id = pending->coupon->id;
    if (deps_.clock.Monotonic() >= pending->request.deadline) {
      Answer(std::move(pending), absl::DeadlineExceededError("expired before the gate was asked"));
      continue;
    }
    auto [position, is_new] = armed.try_emplace(id);
    if (is_new) position->second = deps_.reconciler.EnsureArmed(id);
    if (absl::IsNotFound(position->second)) {
      Answer(std::move(pending), IssueAnswer{.outcome = IssueOutcome::kUnknownCoupon});
      continue;
    }
    if (!position->second.ok()) {
      Answer(std::move(pending), absl::UnavailableError(position->second.message()));
      continue;
    }
    std::optional<CouponDirectory::Found> found = deps_.directory.Find(id);
    std::shared_ptr<const Coupon> coupon = found ? std::move(found->coupon) : pending->coupon;
    Enter(std::move(pending), std::move(coupon));
  }
}

/// Whoever comes here may be repeating a request that is a row by now: only the row knows.
void Issuer::CompareWithRows(std::vector<PendingPtr>& batch) {
  std::vector<Holder> holders;
  holders.reserve(batch.size());
  for (const PendingPtr& pending : batch) holders.push_back(pending->request.holder);
  const absl::StatusOr<std::vector<std::optional<coupon::Issue>>> issues =
      deps_.store.FindIssues(holders);
  for (size_t i = 0; i < batch.size(); ++i) {
    PendingPtr& pending = batch[i];
    if (!issues.ok()) {
      Answer(std::move(pending), issues.status());
      continue;
    }
    const std::optional<coupon::Issue>& issue = (*issues)[i];
    const bool holds = issue && issue->state == IssueState::kIssued;
    if (holds && issue->request == pending->id) {
      counters_.replayed.fetch_add(1, std::memory_order_relaxed);
      Answer(std::move(pending),
             IssueAnswer{.outcome = IssueOutcome::kQueued, .request = issue->request});
      continue;
    }
    const IssueOutcome otherwise = holds ? IssueOutcome::kDuplicate : pending->otherwise;
    Answer(std::move(pending), IssueAnswer{.outcome = otherwise});
  }
}

void Issuer::Find(Holder holder, FindDone done) {
  if (absl::Status valid = Validate(holder); !valid.ok()) return done(std::move(valid));
  Query query{.holder = holder, .done = std::move(done)};
  if (!queries_.Add(std::move(query))) query.done(Full());
}

void Issuer::FindBatch(std::vector<Query>& queries) {
  absl::flat_hash_map<CouponId, std::vector<Query>> groups;
  for (Query& query : queries) groups[query.holder.coupon].push_back(std::move(query));
  for (auto& [id, group] : groups) FindOf(id, std::move(group));
}

void Issuer::FindOf(CouponId id, std::vector<Query> queries) {
  const auto answer_all = [&](const absl::StatusOr<std::optional<coupon::Issue>>& answer) {
    for (Query& query : queries) query.done(answer);
  };
  const auto coupon = Definition(id);
  if (!coupon.ok()) return answer_all(coupon.status());
  if (*coupon == nullptr) return answer_all(std::optional<coupon::Issue>());

  std::vector<Holder> holders;
  std::vector<UserId> users;
  for (const Query& query : queries) {
    holders.push_back(query.holder);
    users.push_back(query.holder.user);
  }
  std::vector<std::optional<RequestId>> reservations(queries.size());
  absl::Status gate_knows;
  if (IsArmable(**coupon, deps_.clock.Now())) {
    const std::unique_lock<std::mutex> order = OrderAdmissions();
    auto found = deps_.gate.FindReservations(**coupon, users);
    gate_knows = found.status();
    if (found.ok()) reservations = *std::move(found);
  }
  const auto issues = deps_.store.FindIssues(holders);
  std::vector<ClaimWriter::Entry> entries;
  for (size_t i = 0; i < queries.size(); ++i) {
    FindDone& done = queries[i].done;
    if (!reservations[i]) {
      if (!issues.ok()) {
        done(issues.status());
      } else if (!(*issues)[i] && !gate_knows.ok()) {
        done(absl::UnavailableError(gate_knows.message()));
      } else {
        done((*issues)[i]);
      }
      continue;
    }
    coupon::Issue queued{
        .request = *reservations[i], .state = IssueState::kQueued, .issued_at = {}};
    if (deps_.gate.Durable()) {
      done(queued);
      continue;
    }
    entries.push_back(
        {.claim = std::nullopt,
         .settled = [queued, done = std::move(done)](const absl::Status& durable) mutable {
           if (durable.ok()) return done(queued);
           done(durable);
         }});
  }
  if (!entries.empty()) deps_.writer.Add(entries);
}

/// nullptr: there is no such coupon. Blocks for a query where the definition is not known.
absl::StatusOr<std::shared_ptr<const Coupon>> Issuer::Definition(CouponId id) {
  std::optional<CouponDirectory::Found> found = deps_.directory.Find(id);
  if (!found || found->reload) {
    const absl::Status loaded = deps_.directory.Load({&id, 1});
    if (!found && !loaded.ok()) return loaded;
    if (auto fresh = deps_.directory.Find(id)) found = std::move(fresh);
  }
  if (!found) return absl::UnavailableError("the coupon's definition was not kept");
  return std::move(found->coupon);
}

/// Where a reservation is visible before its claim waits for the log, nobody may see it in
/// between. Only a gate in memory is such, so the lock is never held across I/O.
std::unique_lock<std::mutex> Issuer::OrderAdmissions() {
  return deps_.gate.Durable() ? std::unique_lock<std::mutex>()
                              : std::unique_lock<std::mutex>(admissions_mutex_);
}

void Issuer::Hand(base::Batcher<PendingPtr>& stage, PendingPtr pending) {
  if (stage.Add(std::move(pending))) return;
  counters_.full.fetch_add(1, std::memory_order_relaxed);
  Answer(std::move(pending), Full());
}

void Issuer::Answer(PendingPtr pending, absl::StatusOr<IssueAnswer> answer) {
  LeaveGate(*pending);
  auto count = [](std::atomic<int64_t>& counter) {
    counter.fetch_add(1, std::memory_order_relaxed);
  };
  if (absl::IsDeadlineExceeded(answer.status())) {
    count(counters_.unknown_outcome);
  } else if (!answer.ok()) {
    count(counters_.unavailable);
  } else {
    switch (answer->outcome) {
      case IssueOutcome::kQueued: count(counters_.queued); break;
      case IssueOutcome::kDuplicate: count(counters_.duplicate); break;
      case IssueOutcome::kUnknownCoupon: count(counters_.unknown_coupon); break;
      case IssueOutcome::kNotOpen: count(counters_.not_open); break;
      case IssueOutcome::kSoldOut: count(counters_.sold_out); break;
    }
  }
  pending->done(std::move(answer));
}

Issuer::Stats Issuer::stats() const {
  auto read = [](const std::atomic<int64_t>& counter) {
    return counter.load(std::memory_order_relaxed);
  };
  return {.requested = read(counters_.requested),
          .admitted = read(counters_.admitted),
          .queued = read(counters_.queued),
          .replayed = read(counters_.replayed),
          .duplicate = read(counters_.duplicate),
          .unknown_coupon = read(counters_.unknown_coupon),
          .not_open = read(counters_.not_open),
          .sold_out = read(counters_.sold_out),
          .unavailable = read(counters_.unavailable),
          .unknown_outcome = read(counters_.unknown_outcome),
          .full = read(counters_.full),
          .load = shedder_.stats()};
}

}  // namespace ecom::coupon
