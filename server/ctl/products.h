#pragma once

#include <iosfwd>

#include "absl/status/statusor.h"
#include "app/config.h"
#include "ctl/command_line.h"
#include "product/cache.h"
#include "product/store.h"

namespace ecom::ctl {

/// `product show`: a product as the store has it. One query. NOT_FOUND, UNAVAILABLE: as the store
/// says; INVALID_ARGUMENT: no id.
absl::StatusOr<Exit> ShowProduct(product::ProductStore& store, const CommandLine& line,
                                 std::ostream& out);

/// `product set`: changes a product in the store, and then has it dropped from `cache`, which tells
/// the servers; tries that for a few seconds. Null: the servers find the change in the store.
///
/// kBroken: it is changed, but the cache could not be told: servers show it within their soft TTL.
/// NOT_FOUND, INVALID_ARGUMENT: nothing was changed. UNAVAILABLE: it is not known; say it again.
absl::StatusOr<Exit> SetProduct(product::ProductStore& store, product::ProductCache* cache,
                                const CommandLine& line, std::ostream& out);

/// `product hot`: what the servers at the admin addresses see viewed most. UNAVAILABLE: one of them
/// does not answer.
absl::StatusOr<Exit> ShowHotProducts(const app::Config& config, const CommandLine& line,
                                     std::ostream& out);

}  // namespace ecom::ctl
