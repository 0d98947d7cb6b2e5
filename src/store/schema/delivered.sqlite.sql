CREATE TABLE authpolicy_delivered (
  id TEXT NOT NULL PRIMARY KEY  -- of a row that is stored; begins with its time
) WITHOUT ROWID
