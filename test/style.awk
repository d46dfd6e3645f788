# style.awk: what of a C source is larger than it may be, or not in its room.
#
#	awk -v columns=N -v function_lines=N -v room_lines=N -v file_lines=N \
#	    -v rule_lines=N -v median_lines=N -v banners='MIN MAX' \
#	    -v rooms='NAME...' -v mark='====' -f style.awk FILE
#
# Prints a line for each fault, nothing when there is none; a limit that is not
# given is not looked at.
#
#	columns		of a line, a tab goes to the next multiple of 8
#	function_lines	of a function, from its name to its last brace
#	rule_lines	of all functions but one in twenty
#	median_lines	of half of them
#	room_lines	from a banner to the next one
#	banners		of the comment that is the banner, all of its lines
#	rooms		what the banners' titles begin with, in this order; '_'
#			is a blank; if the first is '...', others may be between
#	file_lines	of the file
#
# A banner is a comment that begins with "/* " and the mark. Its title follows
# in that line or in the next. One that begins with "end of" ends no room.

function fault(line, what) {
	print FILENAME ":" line ": " what
}

# As a terminal shows it; LC_ALL=C, so what is no ASCII is more than it looks
function width(s,    n, i, len, part) {
	n = split(s, part, "\t")
	len = length(part[n])
	for (i = 1; i < n; i++)
		len += length(part[i]) + 8 - length(part[i]) % 8
	return len
}

function room_ends(line) {
	if (room && room_lines && line - room_at > room_lines)
		fault(room_at, "room \"" room "\" has " line - room_at \
		    " lines, not at most " room_lines)
}

function room_begins(title) {
	room_ends(banner_at)
	room = title
	room_at = banner_at
	titles[++titles_n] = title
	titles_at[titles_n] = banner_at
}

function banner_ends(n) {
	split(banners, limit, " ")
	if (banners && (n < limit[1] || n > limit[2]))
		fault(banner_at, "the banner of \"" room "\" has " n \
		    " lines, not " limit[1] " to " limit[2])
	in_banner = 0
}

# A title is in its room when it begins with the room's name.
function is_room(title, name) {
	gsub(/_/, " ", name)
	return substr(tolower(title), 1, length(name)) == tolower(name)
}

function look_at_rooms(    n, i, at, want, any) {
	n = split(rooms, want, " ")
	any = want[1] == "..."
	for (i = 1 + any; i <= n; i++) {
		at = seen + 1
		while (at <= titles_n && !is_room(titles[at], want[i]))
			at++
		if (at > titles_n) {
			fault(FNR, "there is no room \"" want[i] "\"" \
			    (seen ? " behind \"" titles[seen] "\"" : ""))
			continue
		}
		while (++seen < at)
			if (!any)
				fault(titles_at[seen], "no room has the name \"" \
				    titles[seen] "\", or not here")
	}
	while (!any && ++seen <= titles_n)
		fault(titles_at[seen], "no room has the name \"" \
		    titles[seen] "\", or not here")
}

# How many of them have so many lines or fewer
function functions_of(n,    i, count) {
	for (i = 1; i <= functions; i++)
		count += lengths[i] <= n
	return count
}

function look_at_functions(    n) {
	if (median_lines && 2 * functions_of(median_lines) < functions)
		fault(FNR, "half of the functions have more than " \
		    median_lines " lines")
	n = functions - functions_of(rule_lines)
	if (rule_lines && n > 1 && 20 * n > functions)
		fault(FNR, n " of " functions " functions have more than " \
		    rule_lines " lines, not one in twenty")
}

columns && width($0) > columns {
	fault(FNR, "has " width($0) " columns, not at most " columns)
}

index($0, "/* " mark) == 1 && $0 !~ /^\/\* [^ ]* end of / {
	in_banner = 1
	banner_at = FNR
	title = $0
	sub(/^[^ ]* [^ ]* ?/, "", title)
}
in_banner && title == "" && FNR == banner_at + 1 {
	title = $0
	sub(/^ \* */, "", title)
}
in_banner && title != "" && titles_at[titles_n] != banner_at {
	sub(/ *[-=]*( *\*\/)?$/, "", title)
	room_begins(title)
}
in_banner && /\*\// { banner_ends(FNR - banner_at + 1) }

# A function: its name begins a line, its body and its end are a brace each.
/^[A-Za-z_].*\(/ && !/;$/ { name_at = FNR; name = $0 }
/^\{/ && name_at { body = 1 }
/^[A-Za-z_].*\) *\{$/ { body = 1 }
/^\}/ && body {
	lines = FNR - name_at + 1
	lengths[++functions] = lines
	if (function_lines && lines > function_lines)
		fault(name_at, name " has " lines " lines, not at most " \
		    function_lines)
}
/^\}/ || /^#/ { name_at = body = 0 }

END {
	room_ends(FNR + 1)
	if (rooms)
		look_at_rooms()
	look_at_functions()
	if (file_lines && FNR > file_lines)
		fault(FNR, "has " FNR " lines, not at most " file_lines)
}
