"""``make demo-chef``: the demo's jobs with a Chef Server (its double) as identity; one node enrols itself there."""

import sys

from demo.__main__ import ACTS, Act, main
from demo.chef.fleet import ChefFleet

SEARCH = Act(
    title="A job on the nodes that the Chef Server's search finds",
    arguments=("job", "start", "--capture", "-s", "roles:web", "greet"),
    status=0,
    shows=("Hello from web1", "Hello from web2"),
)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], make_fleet=ChefFleet, acts=(*ACTS, SEARCH)))
