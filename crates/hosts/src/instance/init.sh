# The first process of an instance: brings it up, then adopts and reaps what others leave.
#
# Its namespaces and mounts are made before it starts, except /proc, which belongs to its own
# process numbers. What it is told is in files below $boot, one value in each.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
boot=/run/elastane/boot
umask 022
mount -t proc -o nosuid,nodev,noexec proc /proc || exit 1
read -r id <$boot/id
read -r user <$boot/user
echo "$id: starting"

# Others get a moment to end by themselves; the kernel ends the rest with this process.
finish() {
    echo "$id: stopping"
    kill -TERM -1 2>/dev/null
    rounds=0
    while [ $rounds -lt 20 ]; do
        set -- /proc/[0-9]*
        [ $# -gt 1 ] || break
        sleep 0.05
        rounds=$((rounds + 1))
    done
    exit 0
}
trap finish TERM

# Lets the key of the boot log in as a user. Arguments: the user, the user's home.
authorize() {
    mkdir -p "$2/.ssh"
    touch "$2/.ssh/authorized_keys"
    grep -qxFf $boot/authorized_key "$2/.ssh/authorized_keys" ||
        cat $boot/authorized_key >>"$2/.ssh/authorized_keys"
    chmod 700 "$2/.ssh"
    chmod 600 "$2/.ssh/authorized_keys"
    chown "$1:" "$2/.ssh" "$2/.ssh/authorized_keys"
}

# Gives a user without a usable password one that matches nothing: sshd refuses locked accounts.
unlock() {
    case $(grep "^$1:" /etc/shadow) in
    "$1:!"*) usermod --password '*' "$1" ;;
    esac
}

if [ -e $boot/first ]; then
    # A key of another machine would let that machine's clients believe this is it.
    rm -f /etc/ssh/ssh_host_*
    ssh-keygen -q -t ed25519 -N '' -C "$id" -f /etc/ssh/ssh_host_ed25519_key
    id -u "$user" >/dev/null 2>&1 ||
        useradd --create-home --shell /bin/bash --password '*' "$user" 2>&1
    unlock root
    unlock "$user"
    if [ -d /etc/sudoers.d ] && [ "$user" != root ]; then
        echo "$user ALL=(ALL) NOPASSWD:ALL" >/etc/sudoers.d/90-elastane
        chmod 440 /etc/sudoers.d/90-elastane
    fi
fi
if [ -s $boot/authorized_key ]; then
    home=$(getent passwd "$user" | cut -d: -f6)
    [ -z "$home" ] || authorize "$user" "$home"
    authorize root /root
fi

serve_ssh() {
    mkdir -p /run/sshd
    /usr/sbin/sshd -D -e -f /run/elastane/sshd_config &
    sshd=$!
}
serve_ssh
# As the instance's first login would find it: everything is up.
if [ -e $boot/first ] && [ -x /var/lib/cloud/instance/scripts/part-001 ]; then
    (cd / && HOME=/root /var/lib/cloud/instance/scripts/part-001) &
fi
# What the first boot left to be run at every later one, as cloud-init does.
if [ ! -e $boot/first ]; then
    for script in /var/lib/cloud/scripts/per-boot/*; do
        [ ! -x "$script" ] || (cd / && HOME=/root "$script") &
    done
fi
echo "$id: up"
while :; do
    # Also reaps every process that was left to this one.
    wait "$sshd"
    echo "$id: sshd ended with status $?, and starts again"
    sleep 1
    serve_ssh
done
