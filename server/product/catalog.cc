#include "product/catalog.h"

#include <pthread.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "product/cursor.h"

namespace ecom::product {
namespace {

/// Between two looks for callers who wait for too long.
constexpr absl::Duration kLateInterval = absl::Milliseconds(50);

constexpr size_t kListsInBatch = 16;      // each is a read of its own; bounds only what is moved
constexpr size_t kPopularsInBatch = 256;  // one read for all of them

/// Keeps every version out: changes may have been missed.
constexpr int64_t kAllVersions = std::numeric_limits<int64_t>::max();

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
      stores_({.name = "product-store",
               .batch_items_max = options.load_ids_max,
               .queue_items_max = options.loads_waiting_max},
              [this](std::vector<ProductId>& ids) { LoadStored(ids); }),
      loads_({.name = "product-load",
              .batch_items_max = options.load_ids_max,
              .queue_items_max = options.loads_waiting_max},
             [this](std::vector<ProductId>& ids) { LoadCached(ids); }),
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
                  const auto read = ReadPopular();
                  const auto kept = read.ok() ? *read : KeptPopular(options_.l1.hard_ttl);
                  for (PendingPopular& pending : batch) {
                    if (kept != nullptr) {
                      pending.done(FirstOf(kept, pending.page_size));
                    } else {
                      pending.done(read.status());
                    }
                  }
                }),
      views_(
          Outliving(options.l1.hard_ttl, options.views),
          {.store = deps.store, .totals = deps.totals, .clock = deps.clock},
          [this](ProductId id) { l1_.Erase(id); },
          [this](std::span<const ViewDelta> deltas) { NoteViews(deltas); }) {
  late_ = std::thread([this] { AnswerLate(); });
  pthread_setname_np(late_.native_handle(), "product-late");
}

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

absl::Status Catalog::CountViews(std::span<const ViewDelta> views) {
  for (const auto& [id, count] : views) {
    if (id.value < 1) return Invalid(id);
    if (count < 1 || count > kViewsMax) {
      return absl::InvalidArgumentError(absl::StrCat(count, " views of one product at once"));
    }
  }
  for (const ViewDelta& delta : views) views_.Add(delta);
  return absl::OkStatus();
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
  if (auto kept = KeptPopular(options_.popular_age_max)) {
    return done(FirstOf(std::move(kept), page_size));
  }
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
  stores_.Stop();
  {
    std::lock_guard lock(flights_mutex_);
    stopping_ = true;
  }
  stop_late_.notify_all();
  if (late_.joinable()) late_.join();
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
    const absl::Duration now = clock_.Monotonic();
    const auto flight = flights_.find(id);
    const bool is_late =
        flight != flights_.end() && now - flight->second.began_at >= options_.expired_wait;
    Freshness freshness = Freshness::kAnyLevel;
    if (flight == flights_.end() || is_late) {
      // A read that ended since the first look has left its result in L1.
      const L1Cache::Found found = l1_.Find(id);
      answer = Answer(id, found);
      if (found.state == L1Cache::State::kExpired) {
        freshness = Freshness::kStore;
        if (is_late) {
          ++counters_.expired_serves;
          answer = View(found.product);
        }
      }
    }
    if (!answer) {
      const size_t unknown_max = options_.loads_waiting_max * 3 / 4 + options_.load_ids_max;
      if (freshness == Freshness::kAnyLevel && flights_.size() >= unknown_max) {
        return absl::UnavailableError("too many products wait to be read");
      }
      if (callers_waiting_ >= options_.callers_waiting_max) {
        return absl::UnavailableError("too many callers wait for products");
      }
      if (flight != flights_.end()) {
        flight->second.callers.push_back(std::move(done));
        ++counters_.joins;
      } else {
        if (!Enqueue(id, freshness)) {
          return absl::UnavailableError("too many products wait to be read");
        }
        Flight& begun = flights_[id];
        begun.began_at = now;
        begun.callers.push_back(std::move(done));
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
  if (flights_.contains(id) || !Enqueue(id, Freshness::kStore)) return;
  flights_[id].began_at = clock_.Monotonic();
  ++counters_.refreshes;
}

bool Catalog::Enqueue(ProductId id, Freshness freshness) {
  const bool by_cache = freshness == Freshness::kAnyLevel && reader_.has_cache();
  return (by_cache ? loads_ : stores_).Add(ProductId{id});
}

/// The stage behind loads_: ends with what the second level has, and hands on the rest. Does not
/// wait for the store, which may stand still.
void Catalog::LoadCached(std::vector<ProductId>& ids) {
  const absl::Duration read_at = clock_.Monotonic();
  const auto products = reader_.FindCached(ids);
  std::vector<ProductId> found;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (products[i] != nullptr) found.push_back(ids[i]);
  }
  // Its counts may be an hour old. Where this fails, they show a little later.
  views_.Learn(found).IgnoreError();
  for (size_t i = 0; i < ids.size(); ++i) {
    if (products[i] != nullptr) {
      EndFlight(ids[i], products[i], read_at);
    } else if (!stores_.Add(ProductId{ids[i]})) {
      ++counters_.refused;
      EndFlight(ids[i], absl::UnavailableError("too many products wait for the store"), read_at);
    }
  }
  CheckLater(found);
}

/// The stage behind stores_.
void Catalog::LoadStored(std::vector<ProductId>& ids) {
  const TieredReader::Result read = reader_.FindStored(std::move(ids));
  absl::Status failure;
  absl::flat_hash_set<ProductId> without_total;
  if (read.status.ok()) {
    store_failing_ = false;
    if (const auto missing = views_.Learn(read.ids); missing.ok()) {
      without_total.insert(missing->begin(), missing->end());
    }
  } else {
    failure = StoreFailure("products can't be read", read.status);
  }
  // The second level may have forgotten the change that would keep out what is older.
  TieredReader::Result current{
      .ids = {}, .products = {}, .status = read.status, .read_at = read.read_at};
  for (size_t i = 0; i < read.ids.size(); ++i) {
    if (!failure.ok()) {
      EndFlight(read.ids[i], failure, read.read_at);
    } else if (EndFlight(read.ids[i], read.products[i], read.read_at)) {
      current.ids.push_back(read.ids[i]);
      current.products.push_back(read.products[i]);
    }
  }
  reader_.Fill(current);
  BeginTotals(current, without_total);
}

/// Begins the totals of views that are missing, unless others may have counted since the read.
void Catalog::BeginTotals(const TieredReader::Result& read,
                          const absl::flat_hash_set<ProductId>& without_total) {
  if (clock_.Monotonic() - read.read_at >= options_.reader.fill_age_max) return;
  std::vector<ViewTotal> totals;
  for (const auto& product : read.products) {
    if (product == nullptr || !without_total.contains(product->id)) continue;
    totals.push_back({.id = product->id, .views = product->view_count});
  }
  if (!totals.empty()) views_.Begin(totals);
}

/// Has the store looked at, too, for what the second level had: for some of them in each second.
void Catalog::CheckLater(std::span<const ProductId> ids) {
  const absl::Duration now = clock_.Monotonic();
  if (now - checks_since_ >= absl::Seconds(1)) {
    checks_since_ = now;
    checks_ = 0;
  }
  for (const ProductId id : ids) {
    if (checks_ >= options_.cached_checks_per_second) return;
    ++checks_;
    Refresh(id);
  }
}

/// Leaves the result in L1, and only then ends the flight, at one moment for everybody: who comes
/// later finds the one or the other. Null: there is no such product. False: it was changed
/// meanwhile, and is not to be kept anywhere.
bool Catalog::EndFlight(ProductId id, const absl::StatusOr<std::shared_ptr<const Product>>& read,
                        absl::Duration read_at) {
  std::vector<Done> callers;
  bool is_current = false;
  {
    std::lock_guard lock(flights_mutex_);
    const auto position = flights_.find(id);
    Flight& flight = position->second;
    if (read.ok() && *read != nullptr) {
      is_current = (*read)->version >= flight.version_min;
      if (ReadAgain(id, flight, (*read)->version, read_at)) return is_current;
      if (is_current) l1_.Put(*read, read_at);
    } else if (read.ok()) {
      is_current = flight.version_min == 0;
      if (is_current) l1_.PutNegative(id, read_at);
    }
    callers = std::move(flight.callers);
    flights_.erase(position);
    callers_waiting_ -= callers.size();
  }
  for (Done& done : callers) {
    if (!read.ok()) {
      done(AnswerWithout(id, read.status()));
    } else if (*read == nullptr) {
      done(NotFound(id));
    } else {
      done(View(*read));
    }
  }
  return is_current;
}

/// Those who wait may have come long after the read began, and have been shown something newer by
/// another server: begins a second read for them, once, when the product was changed meanwhile, or
/// this process stood still. True when it did.
bool Catalog::ReadAgain(ProductId id, Flight& flight, int64_t version, absl::Duration read_at) {
  const bool changed = version < flight.version_min && flight.version_min != kAllVersions;
  const bool too_old = clock_.Monotonic() - read_at >= options_.l1.soft_ttl;
  if ((!changed && !too_old) || flight.callers.empty() || flight.is_second) return false;
  flight.is_second = stores_.Add(ProductId{id});
  return flight.is_second;
}

/// Shows what is expired to those who wait for a read that takes long; until Stop.
void Catalog::AnswerLate() {
  struct Late {
    std::vector<Done> callers;
    std::shared_ptr<const Product> product;
  };
  const auto pause = absl::ToChronoNanoseconds(kLateInterval);
  std::unique_lock lock(flights_mutex_);
  while (!stop_late_.wait_for(lock, pause, [this] { return stopping_; })) {
    std::vector<Late> late;
    const absl::Duration now = clock_.Monotonic();
    for (auto& [id, flight] : flights_) {
      if (flight.callers.empty() || now - flight.began_at < options_.expired_wait) continue;
      L1Cache::Found found = l1_.Find(id);
      if (found.product == nullptr) continue;
      callers_waiting_ -= flight.callers.size();
      late.push_back({std::exchange(flight.callers, {}), std::move(found.product)});
    }
    lock.unlock();
    for (Late& each : late) {
      counters_.expired_serves += static_cast<int64_t>(each.callers.size());
      for (Done& done : each.callers) done(View(each.product));
    }
    lock.lock();
  }
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
  for (auto& [id, flight] : flights_) flight.version_min = kAllVersions;
  ++counters_.invalidated_all;
}

void Catalog::Warm(std::span<const ProductId> ids) {
  for (const ProductId id : ids) Refresh(id);
}

/// What a flush of the views tells of what is hot.
void Catalog::NoteViews(std::span<const ViewDelta> deltas) {
  hot_.Count(deltas);
  std::vector<ProductId> hot;
  for (const HotProduct& product : hot_.Top()) hot.push_back(product.id);
  l1_.Pin(hot);
  // What one more query brings, and less than the queue holds: so those who wait for a read have
  // little in front of them, and find room.
  const size_t ids_max = std::min(options_.load_ids_max, options_.loads_waiting_max / 4);
  for (const ProductId id : l1_.TakeDue(ids_max)) Refresh(id);
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

std::shared_ptr<const std::vector<Product>> Catalog::KeptPopular(absl::Duration age_max) {
  std::lock_guard lock(popular_mutex_);
  if (popular_.products == nullptr) return nullptr;
  if (clock_.Monotonic() - popular_.read_at >= age_max) return nullptr;
  return popular_.products;
}

/// Reads the copy of the popular products again, unless that was just done. Returns the copy.
absl::StatusOr<std::shared_ptr<const std::vector<Product>>> Catalog::ReadPopular() {
  if (auto kept = KeptPopular(options_.popular_age_max)) return kept;
  ++counters_.lists;
  const absl::Duration read_at = clock_.Monotonic();
  auto products = store_.ListProducts({.sort = Sort::kViews, .limit = kPageSizeMax});
  if (!products.ok()) {
    ++counters_.list_errors;
    return StoreFailure("the popular products can't be read", products.status());
  }
  std::shared_ptr<const std::vector<Product>> copy =
      std::make_shared<const std::vector<Product>>(*std::move(products));
  std::lock_guard lock(popular_mutex_);
  popular_ = {.products = copy, .read_at = read_at};
  return copy;
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
