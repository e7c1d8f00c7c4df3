#include "product/catalog.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "product/cursor.h"

namespace ecom::product {
namespace {

constexpr size_t kListsInBatch = 16;      // each is a read of its own; bounds only what is moved
constexpr size_t kPopularsInBatch = 256;  // one read for all of them

absl::Status Invalid(ProductId id) {
  return absl::InvalidArgumentError(absl::StrCat("product ids begin at 1, not at ", id.value));
}

absl::Status NotFound(ProductId id) {
  return absl::NotFoundError(absl::StrCat("no product ", id.value));
}

absl::Status CheckPageSize(int page_size) {
  if (page_size >= 1 && page_size <= Catalog::kPageSizeMax) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("a page has 1 to ", Catalog::kPageSizeMax, " products, not ", page_size));
}

absl::StatusOr<ListQuery> ToQuery(const ListRequest& request) {
  RETURN_IF_ERROR(CheckPageSize(request.page_size));
  if (request.category && request.category->value < 1) {
    return absl::InvalidArgumentError("category ids begin at 1");
  }
  // One more than shown tells whether there is a next page.
  ListQuery query{.category = request.category,
                  .is_active = request.is_active,
                  .sort = request.sort,
                  .limit = request.page_size + 1,
                  .after = std::nullopt};
  if (request.cursor) {
    ASSIGN_OR_RETURN(query.after, DecodeCursor(query, *request.cursor));
  }
  return query;
}

PageStart Behind(const Product& product, Sort sort) {
  switch (sort) {
    case Sort::kPrice: return {.sort_key = product.price_minor, .id = product.id};
    case Sort::kViews: return {.sort_key = product.view_count, .id = product.id};
    case Sort::kNewest: break;
  }
  return {.sort_key = absl::ToUnixMicros(product.created_at), .id = product.id};
}

/// What `rows` holds of one page.
ProductPage FirstOf(std::shared_ptr<const std::vector<Product>> rows, int page_size) {
  ProductPage page;
  page.products = std::span(*rows).first(std::min(rows->size(), static_cast<size_t>(page_size)));
  page.rows = std::move(rows);
  return page;
}

/// A counter must outlive what the cache holds of its product: ViewCounter::Options::idle_max.
ViewCounter::Options Outliving(absl::Duration hard_ttl, ViewCounter::Options options) {
  options.idle_max = std::max(options.idle_max, hard_ttl);
  return options;
}

}  // namespace

Catalog::Catalog(Options options, Deps deps)
    : options_(options),
      store_(deps.store),
      clock_(deps.clock),
      l1_(options.l1, deps.clock),
      reader_(options.reader, deps.cache, deps.store, deps.clock),
      hot_(options.hot, deps.clock),
      loads_({.name = "product-load",
              .batch_items_max = options.load_ids_max,
              .queue_items_max = options.loads_waiting_max},
             [this](std::vector<PendingLoad>& loads) { Load(loads); }),
      lists_({.name = "product-list",
              .batch_items_max = kListsInBatch,
              .queue_items_max = options.lists_waiting_max},
             [this](std::vector<PendingList>& batch) {
               for (PendingList& list : batch) list.done(ReadPage(list));
             }),
      populars_({.name = "product-popular",
                 .batch_items_max = kPopularsInBatch,
                 .queue_items_max = options.lists_waiting_max},
                [this](std::vector<PendingPopular>& batch) {
                  const absl::Status refreshed = RefreshPopular();
                  for (PendingPopular& pending : batch) {
                    auto page = PopularPage(pending.page_size, options_.l1.hard_ttl);
                    if (page) {
                      pending.done(*std::move(page));
                    } else {
                      pending.done(refreshed);
                    }
                  }
                }),
      views_(
          Outliving(options.l1.hard_ttl, options.views),
          {.store = deps.store, .totals = deps.totals, .clock = deps.clock},
          [this](ProductId id) { l1_.Erase(id); },
          [this](std::span<const ViewDelta> deltas) { NoteViews(deltas); }) {}

Catalog::~Catalog() { Stop(); }

std::optional<absl::StatusOr<ProductView>> Catalog::TryGet(ProductId id) {
  if (id.value < 1) return Invalid(id);
  const L1Cache::Found found = l1_.Find(id);
  if (found.refresh) Refresh(id);
  return Answer(id, found);
}

void Catalog::Get(ProductId id, Done done) {
  if (auto answer = TryGet(id)) return done(*std::move(answer));
  ++counters_.l1_misses;
  const absl::Status joined = Join(id, done);
  if (joined.ok()) return;
  ++counters_.refused;
  done(AnswerWithout(id, joined));
}

void Catalog::List(const ListRequest& request, ListDone done) {
  absl::StatusOr<ListQuery> query = ToQuery(request);
  if (!query.ok()) return done(query.status());
  PendingList list{.query = *query, .page_size = request.page_size, .done = std::move(done)};
  if (lists_.Add(std::move(list))) return;
  ++counters_.refused;
  // Add leaves alone what it refuses.
  list.done(absl::UnavailableError("too many lists are waiting"));
}

void Catalog::ListPopular(int page_size, ListDone done) {
  if (absl::Status checked = CheckPageSize(page_size); !checked.ok()) return done(checked);
  if (auto page = PopularPage(page_size, options_.popular_age_max)) return done(*std::move(page));
  PendingPopular pending{.page_size = page_size, .done = std::move(done)};
  if (populars_.Add(std::move(pending))) return;
  ++counters_.refused;
  // Add leaves alone what it refuses.
  pending.done(absl::UnavailableError("too many lists are waiting"));
}

int64_t Catalog::Stop() {
  populars_.Stop();
  lists_.Stop();
  loads_.Stop();
  return views_.Stop();
}

Catalog::Stats Catalog::stats() const {
  const L1Cache::Usage usage = l1_.usage();
  return {.l1_hits = counters_.l1_hits,
          .l1_negative_hits = counters_.l1_negative_hits,
          .l1_stale_hits = counters_.l1_stale_hits,
          .l1_misses = counters_.l1_misses,
          .l1_evictions = usage.evictions,
          .l1_entries = static_cast<int64_t>(usage.entries),
          .l1_negative_entries = static_cast<int64_t>(usage.negative_entries),
          .l1_bytes = static_cast<int64_t>(usage.bytes),
          .l1_pinned = static_cast<int64_t>(usage.pinned),
          .joins = counters_.joins,
          .refreshes = counters_.refreshes,
          .invalidations = counters_.invalidations,
          .invalidated_all = counters_.invalidated_all,
          .expired_serves = counters_.expired_serves,
          .refused = counters_.refused,
          .lists = counters_.lists,
          .list_errors = counters_.list_errors,
          .reader = reader_.stats(),
          .views = views_.stats()};
}

/// Answers with what L1 holds, where that may be shown.
std::optional<absl::StatusOr<ProductView>> Catalog::Answer(ProductId id,
                                                           const L1Cache::Found& found) {
  switch (found.state) {
    case L1Cache::State::kMiss:
    case L1Cache::State::kExpired: return std::nullopt;
    case L1Cache::State::kNegative:
      ++counters_.l1_hits;
      ++counters_.l1_negative_hits;
      return NotFound(id);
    case L1Cache::State::kStale: ++counters_.l1_stale_hits; break;
    case L1Cache::State::kFresh: break;
  }
  ++counters_.l1_hits;
  return View(found.product);
}

ProductView Catalog::View(std::shared_ptr<const Product> product) {
  const int64_t view_count = views_.Count(product->id, product->view_count);
  return {.product = std::move(product), .view_count = view_count};
}

/// Waits for the read of one id, which it begins when nobody did. Takes `done`, or returns
/// UNAVAILABLE and leaves it alone.
absl::Status Catalog::Join(ProductId id, Done& done) {
  std::optional<absl::StatusOr<ProductView>> answer;
  {
    std::lock_guard lock(flights_mutex_);
    const auto flight = flights_.find(id);
    Freshness freshness = Freshness::kAnyLevel;
    if (flight == flights_.end()) {
      // A read that ended since the first look has left its result in L1.
      const L1Cache::Found found = l1_.Find(id);
      answer = Answer(id, found);
      if (found.state == L1Cache::State::kExpired) freshness = Freshness::kStore;
    }
    if (!answer) {
      if (callers_waiting_ >= options_.callers_waiting_max) {
        return absl::UnavailableError("too many callers wait for products");
      }
      if (flight != flights_.end()) {
        flight->second.callers.push_back(std::move(done));
        ++counters_.joins;
      } else {
        if (!loads_.Add({.id = id, .freshness = freshness})) {
          return absl::UnavailableError("too many products wait for the store");
        }
        flights_[id].callers.push_back(std::move(done));
      }
      ++callers_waiting_;
      return absl::OkStatus();
    }
  }
  done(*std::move(answer));
  return absl::OkStatus();
}

/// Begins a read that nobody waits for, of the store itself: so a change that was made by hand is
/// seen, too. When the queue is full, a later caller tries again.
void Catalog::Refresh(ProductId id) {
  std::lock_guard lock(flights_mutex_);
  if (flights_.contains(id) || !loads_.Add({.id = id, .freshness = Freshness::kStore})) return;
  flights_.try_emplace(id);
  ++counters_.refreshes;
}

/// The stage behind loads_: one read for all ids that wait, or two.
void Catalog::Load(std::vector<PendingLoad>& loads) {
  for (const Freshness freshness : {Freshness::kAnyLevel, Freshness::kStore}) {
    std::vector<ProductId> ids;
    for (const PendingLoad& load : loads) {
      if (load.freshness == freshness) ids.push_back(load.id);
    }
    if (!ids.empty()) LoadFrom(ids, freshness);
  }
}

void Catalog::LoadFrom(std::span<const ProductId> ids, Freshness freshness) {
  // Before the read: what changes while it runs must not look older than what was read.
  const absl::Duration read_at = clock_.Monotonic();
  const TieredReader::Result read = reader_.Find(ids, freshness);
  absl::Status failure;
  if (read.status.ok()) {
    store_failing_ = false;
  } else {
    failure = StoreFailure("products can't be read", read.status);
  }
  // The second level's counts may be an hour old. Where this fails, they show a little later.
  views_.Learn(ids).IgnoreError();
  for (size_t i = 0; i < ids.size(); ++i) {
    const ProductId id = ids[i];
    const std::shared_ptr<const Product>& product = read.products[i];
    for (Done& done : EndFlight(id, product, read_at, !failure.ok())) {
      if (product != nullptr) {
        done(View(product));
      } else if (failure.ok()) {
        done(NotFound(id));
      } else {
        done(AnswerWithout(id, failure));
      }
    }
  }
  reader_.Fill(read);
}

/// Leaves the result in L1, and only then ends the flight, at one moment for everybody: who comes
/// later finds the one or the other.
std::vector<Catalog::Done> Catalog::EndFlight(ProductId id,
                                              const std::shared_ptr<const Product>& product,
                                              absl::Duration read_at, bool failed) {
  std::lock_guard lock(flights_mutex_);
  const auto flight = flights_.find(id);
  const int64_t version_min = flight->second.version_min;
  if (product != nullptr) {
    if (product->version >= version_min) l1_.Put(product, read_at);
  } else if (!failed && version_min == 0) {
    l1_.PutNegative(id, read_at);
  }
  std::vector<Done> callers = std::move(flight->second.callers);
  flights_.erase(flight);
  callers_waiting_ -= callers.size();
  return callers;
}

void Catalog::Invalidate(std::span<const ProductVersion> changes) {
  for (const ProductVersion& change : changes) {
    std::lock_guard lock(flights_mutex_);
    l1_.EraseOlder(change);
    const auto flight = flights_.find(change.id);
    if (flight == flights_.end()) continue;
    flight->second.version_min = std::max(flight->second.version_min, change.version);
  }
  counters_.invalidations += static_cast<int64_t>(changes.size());
}

void Catalog::InvalidateAll() {
  std::lock_guard lock(flights_mutex_);
  l1_.Clear();
  for (auto& [id, flight] : flights_) flight.version_min = std::numeric_limits<int64_t>::max();
  ++counters_.invalidated_all;
}

void Catalog::Warm(std::span<const Product> products, absl::Duration read_at) {
  TieredReader::Result read{
      .products = {}, .status = {}, .from_store = {}, .store_read_at = read_at};
  for (const Product& product : products) {
    read.from_store.push_back(std::make_shared<const Product>(product));
  }
  {
    std::lock_guard lock(flights_mutex_);
    for (const auto& product : read.from_store) {
      // What is being read will be there in a moment, and is fresher.
      if (!flights_.contains(product->id)) l1_.Put(product, read_at);
    }
  }
  reader_.Fill(read);
}

/// What a flush of the views tells of what is hot.
void Catalog::NoteViews(std::span<const ViewDelta> deltas) {
  hot_.Count(deltas);
  std::vector<ProductId> hot;
  for (const HotProduct& product : hot_.Top()) hot.push_back(product.id);
  l1_.Pin(hot);
  for (const ProductId id : l1_.TakePinnedDue()) Refresh(id);
}

/// Answers when the store can't: with an expired entry where there still is one.
absl::StatusOr<ProductView> Catalog::AnswerWithout(ProductId id, const absl::Status& failure) {
  L1Cache::Found found = l1_.Find(id);
  if (found.product == nullptr) return failure;
  ++counters_.expired_serves;
  return View(std::move(found.product));
}

absl::StatusOr<ProductPage> Catalog::ReadPage(PendingList& list) {
  ++counters_.lists;
  auto products = store_.ListProducts(list.query);
  if (!products.ok()) {
    ++counters_.list_errors;
    return StoreFailure("a list can't be read", products.status());
  }
  ProductPage page =
      FirstOf(std::make_shared<const std::vector<Product>>(*std::move(products)), list.page_size);
  if (page.rows->size() > page.products.size()) {
    page.next_cursor = EncodeCursor(list.query, Behind(page.products.back(), list.query.sort));
  }
  return page;
}

std::optional<ProductPage> Catalog::PopularPage(int page_size, absl::Duration age_max) {
  std::shared_ptr<const std::vector<Product>> products;
  {
    std::lock_guard lock(popular_mutex_);
    if (popular_.products == nullptr) return std::nullopt;
    if (clock_.Monotonic() - popular_.read_at >= age_max) return std::nullopt;
    products = popular_.products;
  }
  return FirstOf(std::move(products), page_size);
}

/// Reads the copy of the popular products again, unless that was just done.
absl::Status Catalog::RefreshPopular() {
  if (PopularPage(/*page_size=*/1, options_.popular_age_max)) return absl::OkStatus();
  ++counters_.lists;
  const absl::Duration read_at = clock_.Monotonic();
  auto products = store_.ListProducts({.sort = Sort::kViews, .limit = kPageSizeMax});
  if (!products.ok()) {
    ++counters_.list_errors;
    return StoreFailure("the popular products can't be read", products.status());
  }
  auto copy = std::make_shared<const std::vector<Product>>(*std::move(products));
  std::lock_guard lock(popular_mutex_);
  popular_ = {.products = std::move(copy), .read_at = read_at};
  return absl::OkStatus();
}

/// What a caller is told of the store's error. Logged once until reads succeed again.
absl::Status Catalog::StoreFailure(const char* what, const absl::Status& status) {
  if (!store_failing_.exchange(true)) {
    base::Log(base::Level::kWarn, what, {{"error", status}});
  }
  if (absl::IsInternal(status)) return status;
  return absl::UnavailableError(absl::StrCat(what, ": ", status.message()));
}

}  // namespace ecom::product
