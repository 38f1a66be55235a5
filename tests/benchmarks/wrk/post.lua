-- POST bodies; arguments behind `--`: bytes of a body (or the body itself after `json`), and `differ` for heads
-- of which no two are alike.
local body, differ, count = "", false, 0

function init(args)
  if args[1] == "json" then
    body = args[2]
    wrk.headers["Content-Type"] = "application/json"
  else
    body = string.rep("x", tonumber(args[1]))
    wrk.headers["Content-Type"] = "application/octet-stream"
  end
  differ = args[#args] == "differ"
  wrk.method = "POST"
  wrk.body = body
  fixed = wrk.format(nil, wrk.path)
end

function request()
  if not differ then return fixed end
  count = count + 1
  wrk.headers["X-Request-Id"] = string.format("%08x-%08x", count, count * 2654435761 % 4294967296)
  return wrk.format(nil, wrk.path)
end
