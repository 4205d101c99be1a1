"""A whole cloud: Nova Zed of Debian 12, unmodified, inside the lab.

places         where each service listens, and where its files are
configuration  what is written into the services' files
services       processes that are the cloud's
bring_up       all of it, from an empty directory
api            the services' REST APIs, as a user sees them
agents         what stands on a host: nova-compute, or droverd in its place
rest_recorder  every REST call, in a file
bus_recorder   every message on the broker, in a file
trace          what the two wrote
pings          how long a guest was silent
moves          a migration, and what is to be so after it
"""
