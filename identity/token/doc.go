// Package token makes and checks tokens.
//
// A token is a short sealed record (AES-256-GCM) of who, in which scope, since when and until when. It is stored nowhere: any peer that has the
// replicated state opens it with one of the token keys there, and looks up in its own copy of the state whether the user, the scope and the roles still
// stand. Answers are remembered as long as the rows that they were read from stay as they are. ../DESIGN.md tells the format and the rules.
package token
