-- A mark says whether rows were there when it was kept or since: it then speaks of nothing once the table holds none. Of rows
-- from before this column, one that has moved, or is of a past, is taken to have had some.
ALTER TABLE sqep_mark
    ADD COLUMN IF NOT EXISTS filled Bool DEFAULT id != before OR born = 'replay' COMMENT 'the table of the kind held rows';
