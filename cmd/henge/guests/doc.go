// Package guests shows the services beside compute to compute: networks, images and the scheduler, each as computed/neighbour wants to see it. It translates; it decides nothing.
package guests
