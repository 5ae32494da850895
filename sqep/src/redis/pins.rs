//! Lua that scripts about ids begin with. Knows how ids compare and what a group keeps; must not know what for.

/// Lua: ids in order, and what each group of a stream still needs of it. Ids are compared as text: the numbers of Lua are
/// too short for them. A full server takes what follows, since that is what relieves it.
pub(super) const PINS: &str = "#!lua flags=allow-oom
local function halves(id)
  local at = string.find(id, '-', 1, true)
  if not at then return id, '0' end
  return string.sub(id, 1, at - 1), string.sub(id, at + 1)
end
local function less(a, b)
  if #a ~= #b then return #a < #b end
  return a < b
end
local function before(a, b)
  local ams, aseq = halves(a)
  local bms, bseq = halves(b)
  if ams ~= bms then return less(ams, bms) end
  return less(aseq, bseq)
end
local function after(id)
  local ms, seq = halves(id)
  if #seq > 15 then return id end
  return ms .. '-' .. string.format('%.0f', tonumber(seq) + 1)
end
local function pins(stream, marks)
  local found = {}
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local group = {}
    for i = 1, #info, 2 do group[info[i]] = info[i + 1] end
    local delivered = group['last-delivered-id']
    local settled = redis.call('HGET', marks, group.name)
    local from, lowest = after(delivered), ''
    if settled and before(settled, delivered) then from = after(settled) end
    if group.pending > 0 then
      lowest = redis.call('XPENDING', stream, group.name)[2]
      if before(lowest, from) then from = lowest end
    end
    found[#found + 1] = {group.name, from, settled or '', delivered, lowest, group.pending}
  end
  return found
end
";
