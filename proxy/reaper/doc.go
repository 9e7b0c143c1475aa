// Package reaper empties accounts that were deleted: by DELETE of who owns the cloud, or with their project. They answer 410 and 404 at once; some time later
// their containers and objects go.
//
// What is to be emptied is noted in the object store itself, and the account bears a mark: all peers see both, and the one that holds the first replica of an account's listing that is
// up does the work. Every step can be repeated. See docs/decisions/0041.
package reaper
