-- Write entities of a snapshot into one partition that nobody uses yet, unless another import took it over.
--
-- KEYS[1] partition    hash: importing, imported
-- then    one status key for each of batch.documents
-- then    one sorted set for each of batch.scores
-- then    one list for each of batch.histories
--
-- ARGV[1] importing    the name of this run of the import
-- ARGV[2] batch        a msgpack map:
--   line               of the snapshot, up to which all of this partition is written then
--   scores             per sorted set: {score, id, …}
--   histories          per list: how many changes it has
--   documents          how many statuses there are
-- then    the statuses, then the changes of each list, the newest first
--
-- Returns 1; 0 where another run has the partition, and then nothing was written.

local partition, importing = KEYS[1], ARGV[1]
local batch = cmsgpack.unpack(ARGV[2])
local first_status = 1  -- each index is one before the first
local first_set = first_status + batch.documents
local first_list = first_set + #batch.scores
local first_document = 2

local CHUNK = 3800  -- values: unpack() fails over 8,000 (LUAI_MAXCSTACK)

local function refused()
  local wrong = other_than('hash', partition)
  for i = 1, #batch.scores do wrong = wrong or other_than('zset', KEYS[first_set + i]) end
  return wrong or refused_by_acl({
    {'HGET', partition, ''},
    {'HSET', partition, '', ''},
    {'SET', KEYS[first_status + 1] or partition, ''},
    {'ZADD', KEYS[first_set + 1] or partition, 0, ''},
    {'DEL', KEYS[first_list + 1] or partition},
    {'RPUSH', KEYS[first_list + 1] or partition, ''},
  })
end

local why = refused()
if why then return why end
if redis.call('HGET', partition, 'importing') ~= importing then return 0 end

for i = 1, batch.documents do redis.call('SET', KEYS[first_status + i], ARGV[first_document + i]) end
for i, scores in ipairs(batch.scores) do
  for j = 1, #scores, CHUNK do
    redis.call('ZADD', KEYS[first_set + i], unpack(scores, j, math.min(j + CHUNK - 1, #scores)))
  end
end
local change = first_document + batch.documents
for i, length in ipairs(batch.histories) do
  local list = KEYS[first_list + i]
  redis.call('DEL', list)
  for j = change + 1, change + length, CHUNK do
    redis.call('RPUSH', list, unpack(ARGV, j, math.min(j + CHUNK - 1, change + length)))
  end
  change = change + length
end
redis.call('HSET', partition, 'imported', batch.line)
return 1
