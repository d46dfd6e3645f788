#!/bin/sh
# The control port and the job: what init.c says it knows and sends (its
# letters[], enum message and structs are the specification) against what
# ktest really emits and takes. A letter or a message that one side has and
# the other has not is a failure here.
. "$(dirname "$0")/tap.sh"

need_ktest
fake_setup
build pty pty.c
PTY=$built

# -- init's side --
pi=$T/protocol-init
quiet "init's side is built" "${CC:-cc}" -std=c99 -Os -static -nostdlib \
    -ffreestanding -fno-stack-protector -fno-pie -no-pie -o "$pi" \
    "$here/protocol-init.c"
"$pi" >"$T/init"
for arch in aarch64 riscv64 s390x; do
	if ! command -v $arch-linux-gnu-gcc >/dev/null ||
	    ! command -v qemu-$arch >/dev/null; then
		skip "no $arch-linux-gnu-gcc or no qemu-$arch" "$arch says the same"
		continue
	fi
	quiet "init's side is built for $arch" $arch-linux-gnu-gcc -std=c99 -Os \
	    -static -nostdlib -ffreestanding -fno-stack-protector -fno-pie \
	    -o "$pi-$arch" "$here/protocol-init.c"
	timeout "$guard" qemu-$arch "$pi-$arch" >"$T/init-$arch"
	same "$T/init-$arch" "$T/init" "$arch says the same, byte for byte"
done
sed -n 's/^job //p' "$T/init" | sort >"$T/init.letters"
is "$(uniq -d "$T/init.letters")" '' 'init knows each letter of the job once'

# enum message: NAME LETTER a line; those that init sends, the others it takes
sed -n "s/^	\(MESSAGE_[A-Z]*\) = '\(.\)'.*/\1 \2/p" "$top/init.c" \
    >"$T/messages"
is "$(sed -n '/^enum message {/,/^}/p' "$top/init.c" | grep -c =)" \
    "$(grep -c . "$T/messages")" 'each line of enum message is understood'
grep -o 'control_send([^,)]*' "$top/init.c" | sed 's/.*(//
    /^enum message message$/d' | sort -u >"$T/sent"
grep -v '^MESSAGE_' "$T/sent" >"$T/other"
empty "$T/other" 'init sends nothing but enum message'
is "$(grep -c 'control_write(' "$top/init.c")" 3 \
    'init writes to the control port in control_send and in Monogon mode'
letter_of() {
	sed -n "s/^$1 //p" "$T/messages"
}
sent= taken=
while read -r name letter; do
	if grep -qx "$name" "$T/sent"; then
		sent="$sent $letter"
	else
		taken="$taken $letter"
		ok "init takes $name" [ "$(grep -c "$name" "$top/init.c")" = 2 ]
	fi
done <"$T/messages"
hello=$(letter_of MESSAGE_HELLO)
error=$(letter_of MESSAGE_ERROR)
live=$(letter_of MESSAGE_LIVE)

# -- Messages that ktest takes: all that init sends, and no other byte --
nonsense() { # WHEN SCRIPT BYTE: sets $known
	FAKE_DO="$2byte=$3;exit=0"
	run "$KTEST" -snapshot none -qemu "$FAKE" -init "$GUEST" -kernel-path \
	    "$FAKE_KERNEL" -accel tcg -- "$GUEST" exit 0
	case $status,$(cat "$err") in
	125,*nonsense*) ;;
	123,*'while the program ran'*) known="$known $3" ;;
	125,'ktest: '*) known="$known $3" ;;
	*)
		fail "$1 byte $3: a reason"
		show "$err"
		;;
	esac
}
codes() { # LETTER...
	for letter; do printf '%d\n' "'$letter"; done | sort -n | tr '\n' ' '
}
export FAKE_DO
# shellcheck disable=SC2046 # numbers
set -- 0 10 65 $(codes a b c d e f g h i j k l m n o p q r s t u v w x y z) 255
known=
for n; do
	nonsense 'before the answer,' '' "$n"
done
# shellcheck disable=SC2086 # words
{
	is "${known# } " "$(codes "$hello" "$error")" \
	    'before its answer ktest takes the hello, an error and no other letter'
	known= n=0
	while [ $n -lt 256 ]; do
		nonsense 'after the answer,' 'hello;clock;' $n
		n=$((n + 1))
	done
	is "${known# } " "$(codes $sent | sed "s/$(codes "$hello")//
	    s/$(codes "$live")//")" 'then it takes what else init sends, but a'\
' sign of life, and no other byte'
}

fake "say=control:${error}no luck\\n;stay" -- "$GUEST" exit 0
like "$err" '^ktest: init gave up: no luck' 'an error is told'
bytes=$(sed -n 's/^verdict //p' "$T/init" | sed 's/ /;byte=/g')
fake "hello;clock;say=stdout:ab;say=stderr:cde;say=log:6,1,5,-\\sa line of a log\\n;$(:
    )byte=$bytes;stay" -- \
    "$GUEST" exit 0
is "$status $(cat "$out") $(cat "$err")" '7 ab cde' \
    "init's verdict is ktest's: its status, once both numbers of bytes came"

# -- Messages that ktest sends, and the job --
# A copy of ktest that notes in $SITES which of the places that write a letter
# it has come by: new ones need an option below that leads there.
awk -v all="$T/sites.all" '
/^static void job_string\(/ {
	print "static int site_at;\n"
	print "static void site(void)\n{"
	print "\tFILE *f = fopen(getenv(\"SITES\"), \"a\");\n"
	print "\tif (f != NULL && fprintf(f, \"%d\\n\", site_at) > 0)"
	print "\t\t(void)fclose(f);\n}\n"
}
/cpio_write\(c, tag, / { print "\tsite();" } # there is a value
{
	while (sub(/job_string\(c, /, "job_string((site_at = " n + 1 ", c), "))
		print ++n >all
	print
}' "$top/ktest.c" >"$T/sites.c"
quiet 'ktest with its sites noted is built' "${CC:-cc}" -O1 -o "$T/sites" \
    "$T/sites.c"
ok "letters are written in $(grep -c . "$T/sites.all") places" \
    [ "$(grep -c . "$T/sites.all")" -ge 10 ]
SITES=$T/sites.seen
export SITES

greeting='{"QMP": {"version": "1"}}\n'
none='{"return": {}}\n'
event='{"timestamp": 1, "event": '
saved="$event\"MIGRATION\", \"data\": {\"status\": \"completed\"}}\\n"
FAKE_MONITOR="hello;say=qmp:$greeting$none$none$none$none$saved;state=abc;stay"
restore="say=qmp:$greeting$none$none$none$event\"RESUME\"}\\n"
export FAKE_MONITOR FAKE_INCOMING
echo 'kernel/net/9p/9pnet_virtio.ko
kernel/fs/9p/9p.ko
kernel/fs/overlayfs/overlay.ko
kernel/fs/ext4/ext4.ko
kernel/drivers/block/virtio_blk.ko
kernel/drivers/net/virtio_net.ko' >>"$T/k/lib/modules/9.9.9-fake/modules.builtin"
mkdir "$T/mounted"
window=$(sed -n 's/^window //p' "$T/init")

# restored NAME MORE OPTIONS...: somebody at a terminal of 24 times 80 has a
# machine saved and restored; $T/NAME is what ktest said then
restored() {
	FAKE_INCOMING="$restore;keep=$2:$T/$1;say=control:$live;x=0"
	restored_name=$1
	shift 2
	run "$PTY" size 24 80 -- "$T/sites" -v -memory 32M -qemu "$FAKE" \
	    -init "$GUEST" -kernel-path "$FAKE_KERNEL" -accel tcg \
	    -snapshot "$T/$restored_name.snapshot" "$@"
	like "$err" 'status 0 modes same' "$restored_name: runs"
	[ -s "$T/$restored_name" ] || { show "$out"; finish; }
}
# somebody at the other end of -link
FAKE_DO='hello;clock;x=0' "$KTEST" -snapshot none -qemu "$FAKE" -init "$GUEST" \
    -kernel-path "$FAKE_KERNEL" -accel tcg -link "$T/link" -- "$GUEST" exit 0 \
    </dev/null >"$T/link.out" 2>&1 &
restored tty "$window" -rootfs / -cwd /proc/sys -env A=b -user 0:0 -net user \
    -kmemleak -port 80 -link "$T/link" -chardev "log=$T/chardev" \
    -mount "$T/mounted:/mnt" -tty -- "$GUEST" exit 0
wait $!
restored pipes 0 -- "$GUEST" exit 0
truncate -s 1M "$T/ext4.img"
printf '\123\357' | dd of="$T/ext4.img" bs=1 seek=1080 conv=notrunc 2>/dev/null
restored image 0 -rootfs "$T/ext4.img" -- sh
for system in "$GUEST" sh; do
	FAKE_DO='sync;hear=agent:input-data;hear=agent:"}};'\
'say=agent:{"return": {"pid": 7}}\n;hello;'"keep=0:$T/system.${system##*/};"\
"say=control:$live;go;x=0"
	export FAKE_DO
	run "$T/sites" -qemu "$FAKE" -init "$top/init" -accel tcg -image \
	    "$T/ext4.img" -- "$system"
	is "$status" 0 "${system##*/} in an -image: runs"
done

# Until a restored guest has said that it lives, nothing else is taken.
known=
for letter in a b c d e f g h i j k l m n o p q r s t u v w x y z; do
	FAKE_INCOMING="$restore;clock;say=control:$letter\\n;stay"
	run "$KTEST" -memory 32M -qemu "$FAKE" -init "$GUEST" -kernel-path \
	    "$FAKE_KERNEL" -accel tcg -snapshot "$T/pipes.snapshot" -timeout \
	    60 -- "$GUEST" exit 0
	like "$err" "^ktest: " "restored, $letter: a reason"
	grep -q nonsense "$err" && case $(cat "$err") in
	*"byte 0x$(printf '%02x' "'$letter")"*) ;;
	*) known="$known $letter" ;;
	esac || known="$known $letter"
done
is "$known" " $error $live" 'a restored guest says that it lives, or fails'
sort -u "$SITES" >"$T/sites.once"
sort "$T/sites.all" | comm -3 "$T/sites.once" - >"$T/missed"
empty "$T/missed" 'every place that writes a letter was come by'

# The first member of the archive behind the answer: its strings' letters
# shellcheck disable=SC2046 # words
set -- $(sed -n 's/^answer //p' "$T/init") 0 0 0 0
size=$1 time=$2 seed=$3 length=$4
number() { # FILE AT TYPE SIZE
	od -An -j "$2" -N "$4" -t "$3$4" "$1" | tr -d ' '
}
emitted() { # FILE
	emitted_size=$(dd if="$1" bs=1 skip=$((size + 54)) count=8 2>/dev/null)
	tail -c +$((size + 1 + 116)) "$1" | head -c $((0x$emitted_size)) |
	    tr '\0\n' '\n?' | cut -c 1
}
{ emitted "$T/tty"; emitted "$T/pipes"; emitted "$T/image"
emitted "$T/system.${GUEST##*/}"; } | sort -u >"$T/ktest.letters"
same "$T/ktest.letters" "$T/init.letters" \
    'the letters that ktest writes are those that init knows'
for name in tty pipes; do
	is "$(tail -c +$((size + 1)) "$T/$name" | head -c 6)" 070701 \
	    "$name: the job follows the answer of $size bytes"
	now=$(date +%s)
	told=$(number "$T/$name" "$time" u 8)
	ok "$name: the time of the answer is now" \
	    [ $((now - told / 1000000000)) -lt 600 ]
	number "$T/$name" "$seed" x 8 >>"$T/seeds"
done
is "$(sort -u "$T/seeds" | grep -c .)" 2 'seeds differ'
is "$(wc -c <"$T/pipes")" \
    $((size + $(number "$T/pipes" "$length" u 8))) 'the length is the job'\''s'
tail -c "$window" "$T/tty" >"$T/window"
is "$(head -c 1 "$T/window") $(number "$T/window" 1 u 2) $(number \
    "$T/window" 3 u 2)" "$(letter_of MESSAGE_WINDOW) 24 80" \
    "the window's size is told as init reads it"

# All one-letter constants where ktest supervises a run are these messages.
sed -n '/^\/\* ==== [0-9]*\. Supervise/,/^\/\* ==== [0-9]*\. Verdict/p' \
    "$top/ktest.c" | grep -o "'[a-z]'" | tr -d "'" | sort -u |
    tr '\n' ' ' >"$T/literals"
# shellcheck disable=SC2086 # words
text "$T/literals" "$(printf '%s\n' $sent $taken | sort | tr '\n' ' ')" \
    'ktest names no message but those of enum message'
finish
