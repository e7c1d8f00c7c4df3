// Most people look at the same few products: 80 % of the reads go to 20 of the 100.
//
//   k6 run bench/k6/scenario2-popular-products.js
//
// -e BASE_URL=http://127.0.0.1:8080   the gateway
// -e ADMIN_URL=http://127.0.0.1:8082  the server's admin address, whose cache counters give the hit
//                                     rate; empty: not measured, and its threshold is left out
// -e THINK=0                          no think time
// -e RATE=500|1000|2000|5000          open model: so many requests a second, whatever the answers take
// -e SHORT=1                          the same shape in 15 s
//
// Writes summary-popular-products.json.
import http from 'k6/http';
import { Gauge, Rate } from 'k6/metrics';
import { counter, json, options as loadOptions, scrape, settings, summary, think } from './lib.js';

const adminUrl = __ENV.ADMIN_URL === undefined ? 'http://127.0.0.1:8082' : __ENV.ADMIN_URL.replace(/\/+$/, '');
const PRODUCTS = 100;
const POPULAR = 20;
const POPULAR_SHARE = 0.8;

const errors = new Rate('product_errors');
const hitRate = new Gauge('product_cache_hit_rate');

const thresholds = {
  'http_req_duration{kind:product}': ['p(50)<50', 'p(95)<200', 'p(99)<500'],
  product_errors: ['rate<0.05'],
};
// 300 users who think for 2 s cannot send more than 150 requests a second at the peak, and about
// 62 on average: no server could pass this rule with think time.
thresholds['http_reqs{kind:product}'] = settings.thinks ? ['count>0'] : ['rate>100'];
if (adminUrl !== '') thresholds.product_cache_hit_rate = ['value>0.8'];
export const options = loadOptions('products', thresholds);

const params = { tags: { kind: 'product', name: 'GET /products/{productId}' } };

function cacheReads() {
  const exposition = scrape(adminUrl);
  if (exposition === null) return null;
  const name = 'product_cache_requests_total';
  return {
    hits: counter(exposition, name, ['level="l1"', 'result="hit"']),
    misses: counter(exposition, name, ['level="l1"', 'result="miss"']),
  };
}

function productId() {
  return Math.random() < POPULAR_SHARE
    ? 1 + Math.floor(Math.random() * POPULAR)
    : 1 + POPULAR + Math.floor(Math.random() * (PRODUCTS - POPULAR));
}

export function setup() {
  return adminUrl === '' ? null : cacheReads();
}

export default function read() {
  const id = productId();
  const response = http.get(`${settings.baseUrl}/products/${id}`, params);
  const body = json(response);
  errors.add(!(response.status === 200 && body !== null && body.id === id && body.name === `부하테스트상품_${id}`));
  think(1, 3);
}

export function teardown(before) {
  if (adminUrl === '') return;
  const after = cacheReads();
  if (before === null || after === null || after.hits === null) {
    console.error(`${adminUrl}/metrics has no product_cache_requests_total: the hit rate counts as 0`);
    hitRate.add(0);
    return;
  }
  // A counter that does not exist yet has counted nothing.
  const hits = after.hits - (before.hits || 0);
  const misses = (after.misses || 0) - (before.misses || 0);
  hitRate.add(hits + misses > 0 ? hits / (hits + misses) : 0);
}

export function handleSummary(data) {
  const notes = [];
  if (settings.thinks) notes.push('the rule of more than 100 req/s belongs to the variant without think time (-e THINK=0): with it these stages average about 62');
  if (adminUrl === '') notes.push('the cache hit rate was not measured: ADMIN_URL is empty');
  return summary('summary-popular-products.json', 'popular-products', data, notes);
}
