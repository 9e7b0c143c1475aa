// Package dispersion tells how many copies of what is stored are where they belong, in the manner of swift-dispersion-populate and -report: it puts containers and objects of its own into a
// share of the partitions of each ring, and later asks every device that should hold a copy of them, and those that stand in for it.
//
// The containers and objects lie in an account that no client can name. What is found for them holds for all that shares their partitions.
package dispersion
