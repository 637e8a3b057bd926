local most, longest = tonumber(ARGV[1]), tonumber(ARGV[2])

-- What a command answers, or `otherwise` where a key is of another kind than it should be: nothing
-- that is only shown may keep the rest from being shown.
local function ask(otherwise, ...)
  local answer = redis.pcall(...)
  if not answer or (type(answer) == 'table' and answer.err) then
    return otherwise
  end
  return answer
end

local history = ask('', 'GET', KEYS[2])
if #history > longest then
  history = ''
end
local told = {ask(0, 'XLEN', KEYS[1]), history}
for i, state in ipairs({'healthy', 'hanging', 'offline'}) do
  told[2 + i] = tonumber(ask(0, 'HGET', KEYS[3], state)) or 0
end
for _, node in ipairs(ask({}, 'HVALS', KEYS[4])) do
  if most > 0 and #node <= longest then
    told[#told + 1] = node
    most = most - 1
  end
end
return told
