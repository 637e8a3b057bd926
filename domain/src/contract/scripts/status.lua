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

-- A field of a hash, unless it is too long.
local function field(key, name)
  if ask(0, 'HSTRLEN', key, name) > longest then
    return nil
  end
  return ask(nil, 'HGET', key, name)
end

local nodes = ask(0, 'HLEN', KEYS[4])
if nodes > most then
  return redis.error_reply('DAMAGED there are too many nodes: ' .. nodes)
end
local history = ''
if ask(0, 'STRLEN', KEYS[2]) <= longest then
  history = ask('', 'GET', KEYS[2])
end
local told = {ask(0, 'XLEN', KEYS[1]), history}
for i, state in ipairs({'healthy', 'hanging', 'offline'}) do
  told[2 + i] = tonumber(field(KEYS[3], state) or 0) or 0
end
for _, name in ipairs(ask({}, 'HKEYS', KEYS[4])) do
  told[#told + 1] = field(KEYS[4], name)
end
return told
