-- What time it is on the server that has a key, in milliseconds since the epoch.
--
-- KEYS[1]   any key of the deployment

local time = redis.call('TIME')
return time[1] * 1000 + math.floor(time[2] / 1000)
