# Functions for scripts that fetch packages of other Debian releases; they source this file.
#
# Packages come from the mirror that this machine uses for Debian, by package lists in $work, a folder of the
# script's own. apt verifies them with debian-archive-keyring. Nothing is installed. The script has a function
# `fail`, which says what is wrong and exits; $settings may hold more of apt's settings.

mkdir "$work/archives" "$work/empty"

keyring=$(ls /usr/share/keyrings/debian-archive-keyring.* 2>/dev/null | head -n 1)
[ -n "$keyring" ] || fail 'no keyring of Debian: install debian-archive-keyring'
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
# The mirror of the release itself: updates and security fixes have other names.
# shellcheck disable=SC2016 # apt's variables
mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' |
    awk -v release="$release" '($2 == release || $2 ~ /^(old)?stable$/) && $3 == "main" { print $1; exit }')
[ -n "$mirror" ] || fail "apt has no source for $release main: see apt-get indextargets"

# Runs a command with the package lists of that name: with_lists NAME COMMAND...
with_lists() {
    lists=$work/$1
    shift
    APT_CONFIG=$lists/apt.conf timeout 300 "$@"
}

# Makes package lists of these suites: make_lists NAME SUITE...
make_lists() {
    name=$1
    lists=$work/$1
    shift
    mkdir -p "$lists/lists/partial" "$lists/cache/archives/partial"
    # An empty system, so that apt names every library.
    : >"$lists/status"
    # Of the machine's settings, those of the network. Its hooks would run for these lists, too.
    apt-config dump | grep '^Acquire::' >"$lists/apt.conf" || return
    cat >>"$lists/apt.conf" <<END
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::State "$lists";
Dir::State::status "$lists/status";
Dir::State::lists "$lists/lists";
Dir::Cache "$lists/cache";
Dir::Etc::sourcelist "$lists/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Acquire::Languages "none";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
${settings-}
END
    for suite in "$@"; do
        echo "deb [signed-by=$keyring] $mirror $suite main"
    done >"$lists/sources.list"
    with_lists "$name" apt-get -qq update
}

# Names a package and the libraries that it needs, with their versions: needed LISTS SUITE PACKAGE
needed() {
    with_lists "$1" apt-get -s --no-install-recommends install "$3/$2" >"$work/plan" || return
    awk -v package="$3" '$1 == "Inst" && ($2 == package || $2 ~ /^(lib|zlib1g)/) { print $2 "=" substr($3, 2) }' \
        "$work/plan"
}

# Fetches a package and its libraries, and unpacks them into a folder in $work: unpack NAME LISTS SUITE PACKAGE
unpack() {
    folder=$work/$1
    packages=$(needed "$2" "$3" "$4") || return
    # apt names only archives that are not in the current folder.
    # shellcheck disable=SC2086 # a list of names
    (cd "$work/empty" && with_lists "$2" apt-get -qq --print-uris download $packages >"$work/uris") || return
    # One folder for all, so that libraries are fetched once.
    # shellcheck disable=SC2086
    (cd "$work/archives" && with_lists "$2" apt-get -qq download $packages) || return

    mkdir -p "$folder/etc" "$folder/dev" "$folder/proc" "$folder/tmp" || return
    for link in bin sbin lib lib64; do
        mkdir -p "$folder/usr/$link" && ln -s "usr/$link" "$folder/$link" || return
    done
    for archive in $(awk '{ print $2 }' "$work/uris"); do
        dpkg-deb --fsys-tarfile "$work/archives/$archive" |
            tar -x --keep-directory-symlink -C "$folder" --exclude='./usr/share/doc' --exclude='./usr/share/man' \
                --exclude='./usr/share/locale' || return
    done
}
