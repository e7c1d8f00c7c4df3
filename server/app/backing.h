#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "app/config.h"
#include "app/sample_data.h"
#include "base/call_stats.h"
#include "base/clock.h"
#include "coupon/claim_log.h"
#include "coupon/gate.h"
#include "coupon/store.h"
#include "product/cache.h"
#include "product/changes.h"
#include "product/store.h"
#include "product/views.h"

namespace ecom::app {

/// What one client of another program has counted.
struct ClientStats {
  enum class System { kRedis, kMysql, kKafka };

  /// The connections of a client that shares some among its callers.
  struct Pool {
    int in_use = 0;
    int size = 0;
    int waiting = 0;  ///< callers for whom there is none
  };

  System system = System::kRedis;
  std::string name;  ///< what it is for; a topic's name for a Kafka producer
  base::CallStats::Snapshot calls;
  std::optional<Pool> pool;
};

/// Everything behind the ports, of one kind. What it returns lives as long as it does.
class Backing {
 public:
  /// Makes the one that `config` names. `clock` must outlive it.
  ///
  /// FAILED_PRECONDITION, with a message for the operator: it can't be used as configured.
  static absl::StatusOr<std::unique_ptr<Backing>> Create(const Config& config,
                                                         const base::Clock& clock);
  virtual ~Backing() = default;

  virtual std::string_view name() const = 0;

  /// Makes the stores fit for use, and loads `sample` where it is not there yet. Idempotent;
  /// blocks.
  ///
  /// FAILED_PRECONDITION, with a message for the operator: it is not what we need, and waiting does
  /// not change that. Any other error: something does not answer, or is not there yet; prepare
  /// again.
  virtual absl::Status Prepare(const SampleData* sample) = 0;

  virtual coupon::CouponStore& coupon_store() = 0;
  virtual coupon::GateAuthority& authority() = 0;
  virtual product::ProductStore& product_store() = 0;
  virtual product::ViewTotals& view_totals() = 0;
  /// The products that all servers share; null: there is no second level.
  virtual product::ProductCache* product_cache() = 0;
  virtual product::ProductChanges& product_changes() = 0;
  virtual coupon::CouponGate& gate() = 0;
  virtual coupon::GateControl& control() = 0;
  virtual coupon::ClaimLog& log() = 0;
  virtual coupon::LogProgress& progress() = 0;
  virtual coupon::DeadLetters& dead_letters() = 0;
  virtual coupon::IssueFeed& feed() = 0;

  /// How many dead letters wait for a person. Some round trips; one caller at a time. UNAVAILABLE,
  /// FAILED_PRECONDITION: unknown; ask again.
  virtual absl::StatusOr<int64_t> CountDeadLetters() = 0;

  /// What the clients of other programs have counted; none where there are no others. Never blocks.
  virtual std::vector<ClientStats> Clients() const = 0;

  /// Opens the sources that this process reads, each for one recorder. Call it once.
  virtual absl::StatusOr<std::vector<coupon::ClaimSource*>> OpenSources() = 0;

  /// Lets others read what these sources read. Their recorders must have stopped. Idempotent.
  virtual void CloseSources() = 0;
};

}  // namespace ecom::app
