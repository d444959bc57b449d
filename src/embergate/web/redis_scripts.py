"""What `RedisLimiter` has Redis do, each script in one step that nothing comes between. Times are Redis' own.

A window is a hash of amounts by tick, with their sum under `total`, and a list of its ticks, oldest first.
"""

from __future__ import annotations

from typing import Final

# Charge windows and take a place, all of it or nothing. An amount of 0 asks what is charged; no place asks how many there are.
# KEYS: the places; then a hash and a list for each window. ARGV: milliseconds a tick, ticks a window, the place (or ''),
# the most places, milliseconds of a lease; then an amount and a maximum for each window.
# Returns: 0, or the number of the window that refuses, or -1 if there is no place; milliseconds to wait (-1: for ever); the
# tick; the places taken; then what was charged to each window before.
CLAIM: Final = """
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local tick_ms, num_ticks = tonumber(ARGV[1]), tonumber(ARGV[2])
local tick, num_windows = math.floor(now_ms / tick_ms), (#KEYS - 1) / 2
for i = 1, num_windows do
  local last = tonumber(redis.call('LINDEX', KEYS[2 * i + 1], -1) or 0)
  if last > tick + num_ticks then  -- the clock was set back by more than a minute
    redis.call('DEL', KEYS[2 * i], KEYS[2 * i + 1])
  elseif last > tick then
    tick = last
  end
end
local used, refusing, wait_ms = {}, 0, 0
for i = 1, num_windows do
  local sums, ticks = KEYS[2 * i], KEYS[2 * i + 1]
  local amount, maximum = tonumber(ARGV[4 + 2 * i]), tonumber(ARGV[5 + 2 * i])
  local oldest = redis.call('LINDEX', ticks, 0)
  while oldest and tonumber(oldest) < tick - num_ticks do
    local total = tonumber(redis.call('HGET', sums, 'total') or 0) - tonumber(redis.call('HGET', sums, oldest) or 0)
    redis.call('HSET', sums, 'total', total)
    redis.call('HDEL', sums, oldest)
    redis.call('LPOP', ticks)
    oldest = redis.call('LINDEX', ticks, 0)
  end
  used[i] = tonumber(redis.call('HGET', sums, 'total') or 0)
  local missing = used[i] + amount - maximum
  if amount > maximum then
    refusing, wait_ms = i, -1
  elseif amount > 0 and missing > 0 and wait_ms >= 0 then
    for _, old in ipairs(redis.call('LRANGE', ticks, 0, -1)) do
      missing = missing - tonumber(redis.call('HGET', sums, old) or 0)
      if missing <= 0 then
        local free_ms = (tonumber(old) + num_ticks + 1) * tick_ms
        if free_ms - now_ms > wait_ms then
          refusing, wait_ms = i, free_ms - now_ms
        end
        break
      end
    end
  end
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms)
local place, lease_ms = ARGV[3], tonumber(ARGV[5])
local num_places = redis.call('ZCARD', KEYS[1])
if refusing == 0 and place ~= '' and num_places >= tonumber(ARGV[4]) then
  refusing = -1
end
if refusing == 0 then
  for i = 1, num_windows do
    local amount = tonumber(ARGV[4 + 2 * i])
    if amount > 0 then
      local sums, ticks = KEYS[2 * i], KEYS[2 * i + 1]
      if redis.call('HEXISTS', sums, tick) == 0 then
        redis.call('RPUSH', ticks, tick)
      end
      redis.call('HINCRBY', sums, tick, amount)
      redis.call('HINCRBY', sums, 'total', amount)
      redis.call('PEXPIRE', sums, (num_ticks + 2) * tick_ms)
      redis.call('PEXPIRE', ticks, (num_ticks + 2) * tick_ms)
    end
  end
  if place ~= '' then
    redis.call('ZADD', KEYS[1], now_ms + lease_ms, place)
    redis.call('PEXPIRE', KEYS[1], lease_ms)
  end
end
return {refusing, wait_ms, tick, num_places, unpack(used)}
"""

# Undo charges, unless they are forgotten already. KEYS: the hash of each window. ARGV: the tick; then each window's amount.
GIVE_BACK: Final = """
for i, sums in ipairs(KEYS) do
  if redis.call('HEXISTS', sums, ARGV[1]) == 1 then
    for _, name in ipairs({ARGV[1], 'total'}) do
      redis.call('HSET', sums, name, tonumber(redis.call('HGET', sums, name) or 0) - tonumber(ARGV[1 + i]))
    end
  end
end
"""

# Keep places that are still taken, and only those. KEYS: the places. ARGV: milliseconds of a lease; then the places.
RENEW: Final = """
local time = redis.call('TIME')
local until_ms = time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[1])
for i = 2, #ARGV do
  redis.call('ZADD', KEYS[1], 'XX', until_ms, ARGV[i])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
"""
