package rootfd

// RemoveAllWith is RemoveAllAt with the choice of how mounts are noticed.
var RemoveAllWith = removeAllAt
