#!/bin/sh
# What a node of a cluster runs at its first boot, and from then on at every boot.
mkdir -p /var/lib/cloud/scripts/per-boot
cat >/var/lib/cloud/scripts/per-boot/elastane-cluster <<'END'
#!/bin/sh
# It ends well when there is nothing left to do, and is started anew when it was killed.
until setsid --wait @programs@/elastane cluster node @role@ </dev/null; do
    sleep 1
done
END
chmod 755 /var/lib/cloud/scripts/per-boot/elastane-cluster
exec /var/lib/cloud/scripts/per-boot/elastane-cluster
