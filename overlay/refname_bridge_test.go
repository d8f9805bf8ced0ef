package overlay

// RefName is refName for the tests outside.
var RefName = refName
