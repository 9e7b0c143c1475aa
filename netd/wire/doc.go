// Package wire says what the kernel of one peer shall look like, as plain structs and as the text of rules, and nothing of how it gets there. Read reads
// it out of the tables of netd/model; everything else is pure reading of what Read gave: names of devices, packet filter chains, anti-spoofing tables, address
// translation, and which connections the rules still let pass.
//
// It never touches the kernel (netd/kernel does) and never decides about order or repetition (netd/agent does).
package wire
