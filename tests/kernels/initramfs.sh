#!/bin/busybox sh
# The first program of the virtual machine: finds its two disks, and goes on in the first one.
# The kernel asks for /sbin/modprobe when it wants a module; there, too, it is busybox.
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
for module in virtio_pci virtio_blk; do
    /bin/busybox modprobe "$module"
done
/bin/busybox mount -t ext4 /dev/vda /root
/bin/busybox mount -t ext4 /dev/vdb /root/opt
/bin/busybox umount /proc /sys
/bin/busybox mount --move /dev /root/dev
exec /bin/busybox switch_root /root /opt/nvid/tests/kernels/inside.sh
