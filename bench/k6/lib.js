// What both scenarios share: the shape of the load, the settings and the summary.
import http from 'k6/http';
import { sleep } from 'k6';

// Ramps to a peak of 300 virtual users and back, 90 s in all.
const STAGES = [
  { seconds: 15, target: 50 },
  { seconds: 15, target: 100 },
  { seconds: 30, target: 300 },
  { seconds: 15, target: 100 },
  { seconds: 15, target: 0 },
];
// SHORT=1 keeps the shape and takes 15 s instead of 90.
const SHORT_FACTOR = 6;
const RATES = [500, 1000, 2000, 5000];
// An answer may take 1 s before the open model runs out of users and drops arrivals; dropped ones
// fail the run, because a load that was not offered proves nothing.
const OPEN_MODEL_ANSWER_SECONDS_MAX = 1;

function number(name, fallback) {
  const text = __ENV[name];
  if (text === undefined || text === '') return fallback;
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new Error(`${name} must be a whole number from 0, not "${text}"`);
  }
  return value;
}

function load() {
  const rate = number('RATE', 0);
  if (rate !== 0 && !RATES.includes(rate)) {
    throw new Error(`RATE must be one of ${RATES.join(', ')}, not ${rate}`);
  }
  const short = number('SHORT', 0) !== 0;
  const thinks = rate === 0 && number('THINK', 1) !== 0;
  const variant = rate !== 0 ? `open model, ${rate} req/s` : thinks ? 'think time' : 'no think time';
  return { rate, short, thinks, variant: short ? `${variant}, short` : variant };
}

export const settings = {
  baseUrl: (__ENV.BASE_URL || 'http://127.0.0.1:8080').replace(/\/+$/, ''),
  number,
  ...load(),
};

// The k6 options of a scenario named `name` with its thresholds.
export function options(name, thresholds) {
  const scenario = settings.rate !== 0
    ? {
      executor: 'constant-arrival-rate',
      rate: settings.rate,
      timeUnit: '1s',
      duration: settings.short ? '15s' : '60s',
      preAllocatedVUs: Math.ceil(settings.rate / 5),
      maxVUs: settings.rate * OPEN_MODEL_ANSWER_SECONDS_MAX,
    }
    : {
      executor: 'ramping-vus',
      startVUs: 0,
      stages: STAGES.map(({ seconds, target }) => ({
        duration: `${settings.short ? seconds / SHORT_FACTOR : seconds}s`,
        target,
      })),
      gracefulRampDown: '5s',
      gracefulStop: '5s',
    };
  if (settings.rate !== 0) thresholds.dropped_iterations = ['count==0'];
  return {
    scenarios: { [name]: scenario },
    thresholds,
    summaryTrendStats: ['avg', 'min', 'med', 'p(75)', 'p(90)', 'p(95)', 'p(99)', 'p(99.9)', 'max'],
    userAgent: 'ecom-bench',
  };
}

export function think(secondsMin, secondsMax) {
  if (settings.thinks) sleep(secondsMin + Math.random() * (secondsMax - secondsMin));
}

// The JSON value of an answer, or null: a body that is no JSON is an answer to count, not a crash.
export function json(response) {
  try {
    return response.json();
  } catch (_) {
    return null;
  }
}

// The sum of a Prometheus counter's series whose labels contain all of `labels`, or null if none do.
export function counter(exposition, name, labels) {
  let sum = null;
  for (const line of exposition.split('\n')) {
    if (!line.startsWith(`${name}{`)) continue;
    const close = line.lastIndexOf('}');
    const has = line.slice(name.length + 1, close).split(',').map((label) => label.trim());
    if (!labels.every((label) => has.includes(label))) continue;
    const value = Number(line.slice(close + 1).trim().split(/\s+/)[0]);
    if (Number.isFinite(value)) sum = (sum || 0) + value;
  }
  return sum;
}

export function scrape(url) {
  const response = http.get(`${url}/metrics`, { tags: { kind: 'admin' } });
  return response.status === 200 ? response.body : null;
}

function verdicts(metrics) {
  const rows = [];
  for (const [metric, { thresholds }] of Object.entries(metrics)) {
    for (const [rule, { ok }] of Object.entries(thresholds || {})) rows.push({ metric, rule, ok });
  }
  return rows;
}

function shown(values) {
  return Object.entries(values)
    .map(([key, value]) => `${key}=${Number.isInteger(value) ? value : value.toFixed(3)}`)
    .join(' ');
}

// The files that a run leaves, for handleSummary: the JSON summary, and the same as text on stdout.
// `notes` are sentences that a reader of the figures needs.
export function summary(file, title, data, notes) {
  const thresholds = verdicts(data.metrics);
  const report = {
    scenario: title,
    generator: 'k6',
    variant: settings.variant,
    base_url: settings.baseUrl,
    duration_ms: data.state.testRunDurationMs,
    thresholds,
    notes,
    metrics: data.metrics,
  };
  const lines = [
    `${title} (${settings.variant}), ${(data.state.testRunDurationMs / 1000).toFixed(1)} s`,
    ...Object.entries(data.metrics).sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([metric, { values }]) => `  ${metric.padEnd(42)} ${shown(values)}`),
    'thresholds',
    ...thresholds.map(({ metric, rule, ok }) => `  ${ok ? 'ok    ' : 'FAILED'} ${metric} ${rule}`),
    ...notes.map((note) => `note: ${note}`),
    '',
  ];
  return { [file]: `${JSON.stringify(report, null, 2)}\n`, stdout: lines.join('\n') };
}
