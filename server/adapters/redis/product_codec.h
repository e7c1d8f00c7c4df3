#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "product/product.h"

namespace ecom::adapters::redis {

/// Writes a product as the cache holds it: its version, a colon, a CachedProduct.
std::string EncodeProduct(const product::Product& product);

/// Reads the value of the key of product `id`. Any bytes are allowed: nullopt for a tombstone, and
/// for what is not a whole value of ours, of that product.
std::optional<product::Product> DecodeProduct(product::ProductId id, std::string_view value);

/// Writes a change as the channel carries it: "id:version".
std::string EncodeChange(const product::ProductVersion& change);

/// Reads a message of the channel; nullopt: it is none of ours.
std::optional<product::ProductVersion> DecodeChange(std::string_view message);

}  // namespace ecom::adapters::redis
