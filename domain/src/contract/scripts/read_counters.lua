local term, longest = tonumber(ARGV[1]), tonumber(ARGV[2])

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
    return ''
  end
  return ask('', 'HGET', key, name)
end

local time = redis.call('TIME')
local left = (tonumber(field(KEYS[1], 'expires_ms')) or 0) - time[1] * 1000 - math.floor(time[2] / 1000)
-- A lease that runs for longer than it can was taken before the clock was set back, and says nothing.
local told = {left > 0 and left <= term and 1 or 0}
for i = 3, #ARGV do
  told[#told + 1] = field(KEYS[2], ARGV[i])
end
return told
