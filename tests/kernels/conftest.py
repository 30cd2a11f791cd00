"""What is in `inside` runs in the virtual machine only; the files beside it make that machine."""

import os

collect_ignore = [] if "NVID_INSIDE_KERNEL" in os.environ else ["inside"]
