-- By which edition of the database of time zones a tick was found: governments change their clocks, and a tick that came an
-- hour off is explained by the rules that were known then. NULL for what no clock made, and for rows of older programs.
SET LOCAL lock_timeout = '5s';
ALTER TABLE schedule_tick ADD COLUMN tzdb TEXT;
