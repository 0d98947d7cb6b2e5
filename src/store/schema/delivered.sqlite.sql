CREATE TABLE authpolicy_delivered (
  id TEXT NOT NULL PRIMARY KEY  -- the id of a stored row; begins with its time
) WITHOUT ROWID
