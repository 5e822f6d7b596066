/**
 * What the shared state runs inside Redis. Each script has one key, the hash of facts: by name, the moment when the fact is
 * over (milliseconds since 1970, or 0), a colon, and the value. Two names begin with a space, which no fact's does:
 * ` version`, writes so far and the moment of the last, and ` cursor`, where to go on looking for facts that are over.
 *
 * A script is run as a whole, and what its clock says is what the writes of replicas will say (Redis 5).
 */

const OPEN = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function open(raw)
  local colon = string.find(raw, ':', 1, true)
  local over = colon and tonumber(string.sub(raw, 1, colon - 1))
  if not over then return nil end
  if over ~= 0 and over <= now then return false end
  return string.sub(raw, colon + 1)
end
local malformed = redis.error_reply('MALFORMED a fact in the hash is none of ours')
`;

/** A fact that an evicting server may drop is none: see redisSharedState. Whoever may not ask is taken at their word. */
const EVICTS = `
local function evicts()
  local memory = redis.pcall('INFO', 'memory')
  return type(memory) == 'string' and string.find(memory, 'maxmemory_policy:allkeys', 1, true)
    and not string.find(memory, '\\nmaxmemory:0\\r', 1, true)
end
if evicts() then return redis.error_reply('EVICTS maxmemory-policy') end
`;

/** KEYS: the hash. ARGV: a name. */
export const GET = `${OPEN}
local raw = redis.call('HGET', KEYS[1], ARGV[1])
if not raw then return false end
local value = open(raw)
if value == nil then return malformed end
return value`;

/** KEYS: the hash. */
export const VERSION = "return redis.call('HGET', KEYS[1], ' version')";

/** KEYS: the hash. ARGV: a prefix. Answers with the version, then names and values. */
export const READ = `${OPEN}${EVICTS}
local all = redis.call('HGETALL', KEYS[1])
local found = { redis.call('HGET', KEYS[1], ' version') or '' }
local prefix = ARGV[1]
for i = 1, #all, 2 do
  local name = all[i]
  if string.sub(name, 1, 1) ~= ' ' and string.sub(name, 1, #prefix) == prefix then
    local value = open(all[i + 1])
    if value == nil then return malformed end
    if value then
      found[#found + 1] = name
      found[#found + 1] = value
    end
  end
end
return found`;

/** KEYS: the hash. ARGV: name, value, milliseconds or 0, always or absent, channel, most facts. Answers with what stands. */
export const WRITE = `${OPEN}${EVICTS}
local name, value, life, when, channel, most = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5], tonumber(ARGV[6])
local raw = redis.call('HGET', KEYS[1], name)
if raw and when == 'absent' then
  local stands = open(raw)
  if stands == nil then return malformed end
  if stands then return stands end
end
local function sweep(count)
  local from = redis.call('HGET', KEYS[1], ' cursor') or '0'
  local page = redis.call('HSCAN', KEYS[1], from, 'COUNT', count)
  for i = 1, #page[2], 2 do
    if string.sub(page[2][i], 1, 1) ~= ' ' and open(page[2][i + 1]) == false then
      redis.call('HDEL', KEYS[1], page[2][i])
    end
  end
  redis.call('HSET', KEYS[1], ' cursor', page[1])
end
local function full() return redis.call('HLEN', KEYS[1]) - 2 >= most end
if not raw and full() then
  sweep(1000)
  if full() then return redis.error_reply('FULL of facts') end
end
local over = life == 0 and '0' or string.format('%.0f', now + life)
redis.call('HSET', KEYS[1], name, over .. ':' .. value)
local writes = string.match(redis.call('HGET', KEYS[1], ' version') or '0', '^%d+') or 0
redis.call('HSET', KEYS[1], ' version', string.format('%.0f-%.0f', writes + 1, now))
sweep(20)
redis.pcall('PUBLISH', channel, '')
return value`;
