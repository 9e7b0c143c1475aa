// Package model holds what identity knows: users, groups, projects, domains, roles and who was granted them, the service catalog, credentials,
// token keys and revocations, as tables of the replicated state; and the rules that are pure reading of them: which roles somebody holds
// where, what a catalog looks like to a project, what goes when a project goes.
//
// The records are the stored format: fields are added, never renamed. Nothing here speaks HTTP or decides who may do what.
package model
