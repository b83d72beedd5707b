"""A cluster of Ray in a process of its own: Ray forks, which a process in which JAX has begun had better not.

Run as a script it makes the cluster: a machine for every number of processors, simulated. It then does what its
standard input says, and ends with it.
"""

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple


class Cluster(NamedTuple):
    address: str
    tell: Callable[[str], None]  # "add 1": a machine of one processor; "lose": the last one that was added


@contextlib.contextmanager
def cluster(*cpus: int) -> Iterator[Cluster]:
    command = [sys.executable, __file__, *map(str, cpus)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def read() -> str:
            return next(line for line in process.stdout if line.startswith("answer ")).split()[1]

        def tell(what: str) -> None:
            print(what, file=process.stdin, flush=True)
            read()

        try:
            yield Cluster(read(), tell)
        finally:
            process.stdin.close()
            process.wait(timeout=60)


def main() -> None:
    from ray.cluster_utils import Cluster as Simulated

    first, *others = map(int, sys.argv[1:])
    simulated = Simulated(initialize_head=True, head_node_args={"num_cpus": first})
    nodes = [simulated.add_node(num_cpus=count) for count in others]
    print("answer", simulated.address, flush=True)
    for line in sys.stdin:
        what, *count = line.split()
        if what == "add":
            nodes.append(simulated.add_node(num_cpus=int(count[0])))
        else:
            simulated.remove_node(nodes.pop(), allow_graceful=False)
        print("answer", "done", flush=True)
    simulated.shutdown()


if __name__ == "__main__":
    main()
