#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "adapters/embedded/claim_log.h"
#include "adapters/embedded/coupon_store.h"
#include "adapters/embedded/database.h"
#include "adapters/embedded/gate.h"
#include "adapters/embedded/issue_feed.h"
#include "adapters/embedded/product_changes.h"
#include "adapters/embedded/product_store.h"
#include "adapters/embedded/view_totals.h"
#include "app/backing.h"

namespace ecom::app {

/// One SQLite file and a gate in memory.
class EmbeddedBacking final : public Backing {
 public:
  static absl::StatusOr<std::unique_ptr<Backing>> Create(const Config& config,
                                                         const base::Clock& clock);

  /// The path of the file.
  static std::string DataFile(const Config& config);

  std::string_view name() const override { return "embedded"; }
  absl::Status Prepare(const SampleData* sample) override;

  coupon::CouponStore& coupon_store() override { return coupon_store_; }
  coupon::GateAuthority& authority() override { return coupon_store_; }
  product::ProductStore& product_store() override { return product_store_; }
  product::ProductCache* product_cache() override { return nullptr; }
  product::ProductChanges& product_changes() override { return product_changes_; }
  product::ViewTotals& view_totals() override { return view_totals_; }
  coupon::CouponGate& gate() override { return gate_; }
  coupon::GateControl& control() override { return gate_; }
  coupon::ClaimLog& log() override { return log_; }
  coupon::LogProgress& progress() override { return log_; }
  coupon::DeadLetters& dead_letters() override { return log_; }
  coupon::IssueFeed& feed() override { return feed_; }
  absl::StatusOr<int64_t> CountDeadLetters() override { return log_.CountDeadLetters(); }
  std::vector<ClientStats> Clients() const override { return {}; }
  absl::StatusOr<std::vector<coupon::ClaimSource*>> OpenSources() override {
    return std::vector<coupon::ClaimSource*>{&log_};
  }
  void CloseSources() override {}

 private:
  EmbeddedBacking(const Config& config, const base::Clock& clock,
                  std::unique_ptr<adapters::embedded::Database> database);

  const std::unique_ptr<adapters::embedded::Database> database_;
  adapters::embedded::EmbeddedCouponStore coupon_store_;
  adapters::embedded::EmbeddedProductStore product_store_;
  adapters::embedded::EmbeddedProductChanges product_changes_;
  adapters::embedded::EmbeddedViewTotals view_totals_;
  adapters::embedded::EmbeddedClaimLog log_;
  adapters::embedded::EmbeddedCouponGate gate_;
  adapters::embedded::EmbeddedIssueFeed feed_;
};

}  // namespace ecom::app
