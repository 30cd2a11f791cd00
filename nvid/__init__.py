"""nvid: NAT Virtual Interfaces for Linux routers.

The way of a configuration, step by step, is the layout of this package:

1. ``configuration.source``  files are read and merged;
2. ``configuration``         they become typed, checked, immutable values;
3. ``desired``               the kernel state that these values ask for (pure);
4. ``kernel`` (``observe``)  the kernel state that is there;
5. ``difference``            what has to change (pure, printable);
6. ``kernel`` (``apply``)    the change is made, in an order that opens no gap;
7. ``kernel.events``         events say which kind of object to look at again.

``reconcile`` runs 3 to 6 once, ``daemon`` runs it for ever, ``client`` talks to the daemon.
"""

__version__ = "0.1.0"
