-- A mark that is acknowledged is on disk, as the rows before it are. Skipped where the server is too old.
ALTER TABLE sqep_mark MODIFY SETTING fsync_after_insert = 1;
ALTER TABLE sqep_mark MODIFY SETTING fsync_part_directory = 1;
