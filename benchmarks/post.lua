-- For wrk: posts one fixed body over and over, and ends with a line of JSON that load.py reads.
-- BODY_FILE holds the body, HEADERS_FILE a header a line.

wrk.method = "POST"

local body = assert(io.open(os.getenv("BODY_FILE"), "rb"))
wrk.body = body:read("*a")
body:close()

for line in io.lines(os.getenv("HEADERS_FILE")) do
  local name, value = line:match("^([^:]+): (.*)$")
  wrk.headers[name] = value
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "duration_us": %d, "p50_us": %.1f, "p99_us": %.1f, "errors": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status + errors.connect + errors.read + errors.write + errors.timeout))
end
