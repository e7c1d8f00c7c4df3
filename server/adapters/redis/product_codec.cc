#include "adapters/redis/product_codec.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "ecom/cache/v1/cached_product.pb.h"

namespace ecom::adapters::redis {
namespace {

using product::Product;
using product::ProductId;
using product::ProductVersion;
namespace pb = ecom::cache::v1;

/// Bytes behind the colon. A name has at most 255 characters, so ours have some 1,100 at most; more
/// is not ours.
constexpr size_t kProductBytesMax = 4096;

/// Reads a number as EncodeProduct and EncodeChange write it: no sign, no space.
std::optional<int64_t> NumberOf(std::string_view digits) {
  const bool plain = !digits.empty() && std::all_of(digits.begin(), digits.end(),
                                                    [](char c) { return c >= '0' && c <= '9'; });
  int64_t number = 0;
  if (!plain || !absl::SimpleAtoi(std::string(digits), &number)) return std::nullopt;
  return number;
}

/// Splits "number:rest".
std::optional<std::pair<int64_t, std::string_view>> SplitNumber(std::string_view text) {
  const size_t colon = text.find(':');
  if (colon == text.npos) return std::nullopt;
  const std::optional<int64_t> number = NumberOf(text.substr(0, colon));
  if (!number) return std::nullopt;
  return std::pair(*number, text.substr(colon + 1));
}

bool IsComplete(const pb::CachedProduct& cached) {
  return cached.has_id() && cached.has_category_id() && cached.has_name() &&
         cached.has_price_minor() && cached.has_stock_quantity() && cached.has_is_active() &&
         cached.has_view_count() && cached.has_created_at_us() && cached.has_updated_at_us();
}

}  // namespace

std::string EncodeProduct(const Product& product) {
  pb::CachedProduct cached;
  cached.set_id(product.id.value);
  cached.set_category_id(product.category.value);
  cached.set_name(product.name);
  cached.set_price_minor(product.price_minor);
  cached.set_stock_quantity(product.stock_quantity);
  cached.set_is_active(product.is_active);
  cached.set_view_count(product.view_count);
  cached.set_created_at_us(absl::ToUnixMicros(product.created_at));
  cached.set_updated_at_us(absl::ToUnixMicros(product.updated_at));
  std::string value = absl::StrCat(product.version, ":");
  cached.AppendToString(&value);
  return value;
}

std::optional<Product> DecodeProduct(ProductId id, std::string_view value) {
  const auto parts = SplitNumber(value);
  if (!parts || parts->second.empty() || parts->second.size() > kProductBytesMax) {
    return std::nullopt;
  }
  pb::CachedProduct cached;
  if (!cached.ParseFromArray(parts->second.data(), static_cast<int>(parts->second.size()))) {
    return std::nullopt;
  }
  if (!IsComplete(cached) || cached.id() != id.value || cached.price_minor() < 0 ||
      cached.price_minor() > product::kPriceMinorMax) {
    return std::nullopt;
  }
  return Product{.id = id,
                 .category = {cached.category_id()},
                 .name = std::move(*cached.mutable_name()),
                 .price_minor = cached.price_minor(),
                 .stock_quantity = cached.stock_quantity(),
                 .is_active = cached.is_active(),
                 .view_count = cached.view_count(),
                 .created_at = absl::FromUnixMicros(cached.created_at_us()),
                 .updated_at = absl::FromUnixMicros(cached.updated_at_us()),
                 .version = parts->first};
}

std::string EncodeChange(const ProductVersion& change) {
  return absl::StrCat(change.id.value, ":", change.version);
}

std::optional<ProductVersion> DecodeChange(std::string_view message) {
  const auto parts = SplitNumber(message);
  if (!parts || parts->first < 1) return std::nullopt;
  const std::optional<int64_t> version = NumberOf(parts->second);
  if (!version) return std::nullopt;
  return ProductVersion{.id = {parts->first}, .version = *version};
}

}  // namespace ecom::adapters::redis
