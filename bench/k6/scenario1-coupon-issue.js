// Everyone asks for one unit of one coupon; every user asks once.
//
//   k6 run bench/k6/scenario1-coupon-issue.js
//
// -e BASE_URL=http://127.0.0.1:8080  the gateway
// -e COUPON_ID=1                     the coupon
// -e USER_BASE=1000000000            users are USER_BASE + 1, + 2, …: another base for another run on the same data
// -e STOCK=1000                      units left at the start; given, exactly so many must be accepted
// -e THINK=0                         no think time
// -e RATE=500|1000|2000|5000         open model: so many requests a second, whatever the answers take
// -e SHORT=1                         the same shape in 15 s
//
// Writes summary-coupon.json.
import http from 'k6/http';
import exec from 'k6/execution';
import { Counter, Rate, Trend } from 'k6/metrics';
import { json, options as loadOptions, settings, summary, think } from './lib.js';

const couponId = settings.number('COUPON_ID', 1);
const userBase = settings.number('USER_BASE', 1000000000);
const stock = settings.number('STOCK', 0);
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

// Refusals are correct answers, but cheaper ones: each kind has its own count and its own latencies.
const kinds = {};
for (const kind of ['accepted', 'sold_out', 'duplicate', 'error']) {
  kinds[kind] = { count: new Counter(`coupon_${kind}`), latency: new Trend(`coupon_${kind}_duration`, true) };
}
const errors = new Rate('coupon_errors');

const thresholds = {
  'http_req_duration{kind:issue}': ['p(95)<300'],
  'http_reqs{kind:issue}': ['rate>50'],
  coupon_errors: ['rate<0.1'],
  coupon_accepted: [stock > 0 ? `count==${stock}` : 'count>0'],
};
export const options = loadOptions('coupon', thresholds);

const params = { tags: { kind: 'issue', name: 'POST /coupons/{couponId}/issue' } };
// Without this k6 would count a correct refusal as a failed request.
http.setResponseCallback(http.expectedStatuses(200, 400, 409));

function kindOf(response, userId) {
  const body = json(response);
  if (body === null) return 'error';
  if (response.status === 400 && body.code === 'CP101') return 'sold_out';
  if (response.status === 409 && body.code === 'CP102') return 'duplicate';
  const promised = response.status === 200 && body.status === 'QUEUED' && body.userId === userId &&
    body.couponId === couponId && UUID.test(body.requestId);
  return promised ? 'accepted' : 'error';
}

export default function issue() {
  const userId = userBase + 1 + exec.scenario.iterationInTest;
  const response = http.post(`${settings.baseUrl}/coupons/${couponId}/issue`, null,
    { ...params, headers: { userId: String(userId) } });
  const kind = kindOf(response, userId);
  kinds[kind].count.add(1);
  kinds[kind].latency.add(response.timings.duration);
  errors.add(kind === 'error');
  think(0.5, 2);
}

export function handleSummary(data) {
  const notes = stock > 0
    ? [`with a stock of ${stock}, a refusal while units were left shows as coupon_accepted below ${stock}`]
    : ['without -e STOCK=… the run cannot tell a true "sold out" from a false one'];
  notes.push('what was promised is proven by the rows in the database, not by this file');
  return summary('summary-coupon.json', 'coupon', data, notes);
}
