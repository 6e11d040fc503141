#!/bin/sh
# The virtual Pi's only process of its own: makes the machine usable, then runs what is typed on the console.
# The kernel hands `now=` of its command line over as a variable; a Pi has no clock that runs while it is off.

/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
mkdir /run/magpie
stty -echo -onlcr

for module in $(cat /modules/order); do
  insmod "/modules/$module" || echo "the module $module does not load"
done
[ -z "$now" ] || date -s "@$now" > /dev/null
hostname pi3

# What is plugged in takes a moment to be found. busybox has nothing that waits for it.
wait_for() {
  tries=0
  while [ ! -e "$1" ] && [ $tries -lt 600 ]; do
    sleep 0.1
    tries=$((tries + 1))
  done
}
if [ -n "$card" ]; then
  wait_for /dev/mmcblk0
  mount -t ext4 /dev/mmcblk0 /var/lib/magpie
fi
wait_for /sys/class/net/eth0
ip link set lo up
ip address add 10.0.2.15/24 dev eth0
ip link set eth0 up
ip route add default via 10.0.2.2

echo "the virtual Pi is ready after $(cut -d ' ' -f 1 /proc/uptime) s"
# As a script, so that it is not interactive: no prompt, no line editing.
exec sh /dev/console
