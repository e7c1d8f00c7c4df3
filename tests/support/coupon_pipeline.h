#pragma once

#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "coupon/claim_writer.h"
#include "coupon/directory.h"
#include "coupon/issuer.h"
#include "coupon/reconciler.h"
#include "coupon/recorder.h"
#include "support/coupon_backend.h"
#include "support/faulty.h"

namespace ecom::tests {

/// How long a test waits for what must happen.
inline constexpr std::chrono::seconds kPatience(20);

/// Waits until `condition` holds; false when it did not within kPatience.
template <typename Condition>
bool Eventually(Condition condition) {
  const auto give_up = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > give_up) return false;
    std::this_thread::yield();
  }
  return true;
}

/// The coupon's whole way over the embedded adapters, with a log and a store that can be told to
/// fail. The recorder runs from the start; the reconciler's passes are the test's to call.
class CouponPipeline {
 public:
  struct Options {
    absl::Duration ack_deadline = absl::Seconds(2);
    int record_batch_max = 1000;
  };

  CouponPipeline() : CouponPipeline(Options{}) {}
  explicit CouponPipeline(Options options)
      : backend(/*in_memory=*/true),
        gate(backend.gate()),
        log(backend.log()),
        store(backend.store()),
        directory({}, store, backend.clock()),
        writer({}, log),
        recorder(std::make_unique<coupon::Recorder>(
            coupon::Recorder::Options{.batch_records_max = options.record_batch_max,
                                      .poll_timeout = absl::Milliseconds(5),
                                      .retry_wait_min = absl::Milliseconds(1),
                                      .retry_wait_max = absl::Milliseconds(2)},
            coupon::Recorder::Deps{
                .source = backend.source(),
                .store = store,
                .gate = backend.gate(),
                .dead_letters = backend.dead_letters(),
                .feed = feed,
                .clock = backend.clock(),
                .on_over_admitted =
                    [this](coupon::CouponId id) { reconciler.RequestRebuild(id); }})),
        // A rebuild of an open gate really waits for its ack_deadline: short in tests.
        reconciler({.ack_deadline = absl::Milliseconds(5)},
                   {store, backend.authority(), backend.gate(), backend.control(), log,
                    backend.progress(), directory, backend.clock()}),
        issuer({.ack_deadline = options.ack_deadline},
               {gate, writer, log, store, directory, reconciler, backend.clock()}) {}

  ~CouponPipeline() {
    log.Release();
    issuer.Stop();
    writer.Stop();
    reconciler.Stop();
    recorder.reset();
  }

  /// Begins to ask for a coupon.
  std::future<absl::StatusOr<coupon::IssueAnswer>> Begin(
      int64_t coupon_id, int64_t user_id, std::optional<std::string> key = std::nullopt,
      absl::Duration deadline = absl::InfiniteDuration()) {
    auto promise = std::make_shared<std::promise<absl::StatusOr<coupon::IssueAnswer>>>();
    auto answer = promise->get_future();
    issuer.Issue({.holder = {{coupon_id}, {user_id}},
                  .idempotency_key = std::move(key),
                  .deadline = deadline},
                 [promise](absl::StatusOr<coupon::IssueAnswer> result) {
                   promise->set_value(std::move(result));
                 });
    return answer;
  }

  /// Asks for a coupon and waits for the answer.
  absl::StatusOr<coupon::IssueAnswer> Issue(int64_t coupon_id, int64_t user_id,
                                            std::optional<std::string> key = std::nullopt) {
    return Begin(coupon_id, user_id, std::move(key)).get();
  }

  absl::StatusOr<std::optional<coupon::Issue>> Find(int64_t coupon_id, int64_t user_id) {
    std::promise<absl::StatusOr<std::optional<coupon::Issue>>> promise;
    issuer.Find({{coupon_id}, {user_id}}, [&](auto issue) { promise.set_value(std::move(issue)); });
    return promise.get_future().get();
  }

  /// The state of a coupon's gate, by the definition that is in the store now.
  absl::StatusOr<std::optional<coupon::GateState>> Inspect(int64_t coupon_id) {
    const std::vector<coupon::CouponId> ids = {{coupon_id}};
    return backend.control().Inspect(*(*backend.store().FindCoupons(ids))[0]);
  }

  /// Waits until everything that was appended is a row.
  bool Drain() {
    return Eventually([this] { return backend.Lag() == 0; });
  }

  EmbeddedCouponBackend backend;
  CountingGate gate;  // the issuer's calls only
  FaultyLog log;
  FaultyStore store;
  RecordingFeed feed;
  coupon::CouponDirectory directory;
  coupon::ClaimWriter writer;
  std::unique_ptr<coupon::Recorder> recorder;
  coupon::Reconciler reconciler;
  coupon::Issuer issuer;
};

}  // namespace ecom::tests
