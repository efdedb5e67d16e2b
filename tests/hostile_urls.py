"""URLs that nobody may reach through the product."""

HOSTILE_HOSTS = [
    "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0x7f.1", "0177.0.0.1", "017700000001",
    "0.0.0.0",  # noqa: S104 -- refused, not listened on
    "0177.0x0.1", "127.0.0.1.", "0", "10.0.0.1", "10.1", "167772161", "172.16.0.1", "172.31.255.254",
    "192.168.1.1", "0xc0a80101", "169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "100.64.0.1",
    "100.100.100.200", "168.63.129.16", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.7", "203.0.113.9",
    "224.0.0.1", "239.1.2.3", "240.0.0.1", "255.255.255.255",
    "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::127.0.0.1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::FFFF:10.0.0.1]",
    "[::ffff:169.254.169.254]", "[64:ff9b::127.0.0.1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::8.8.8.8]",
    "[2002:7f00:1::]", "[2002:808:808::]", "[2001:0:4136:e378:8000:63bf:3fff:fdd2]", "[2001:db8::1]", "[fc00::1]",
    "[fd00:ec2::254]", "[fe80::1]", "[fe80::1%25eth0]", "[fe80::1%eth0]", "[ff02::1]", "[100::1]", "[3fff::1]",
    "[2606:4700::5efe:10.0.0.1]",
    "localhost", "LOCALHOST", "localhost.", "sub.localhost", "printer.local", "metadata.google.internal", "intranet",
    "metadata", "router.home.arpa", "db.localdomain",
    "127.0.0.1.example:80", "１２７.0.0.1", "①②⑦.⓪.⓪.①", "127。0。0。1", "127．0．0．1", "loc\u0430lhost", "ⓛocalhost",
    "private.example.test", "xn--fiqs8s.example.test", "rebind.example.test",
]  # fmt: skip

MALFORMED = [
    "", " ", "http", "http:", "http:/", "http://", "http:///", "http:example.test", "//example.test/", "/x", "example.test",
    "http://?x", "http://#x", "http://:80/", "http://example.test:0/", "http://example.test:99999/",
    "http://example.test:80a/", "http://example.test:/", "http://example.test:-1/", "http://exa mple.test/",
    "http://example.test\\@127.0.0.1/", "http:\\\\127.0.0.1\\", "http://127.0.0.1%2f.example.test/",
    "http://127.0.0.%31/", "http://%31%32%37.0.0.1/", "http://example.test\r\nHost: x/", "http://exam\x00ple.test/",
    "\thttp://example.test/", "http://example.test/ ", "http://ex\u00adample.test/", "http://[::1/", "http://::1/",
    "http://[::1]x/", "http://[127.0.0.1]/", "http://[]/", "http://256.256.256.256/", "http://1.2.3.4.5/",
    "http://example..test/", "http://.example.test/", "http://" + "a" * 64 + ".test/", "http://" + "a." * 200 + "test/",
    "http://example.test/" + "x" * 9000, "http://a,b.test/", "http://a;b.test/", "http://*.test/", "http://\ud800.test/",
]  # fmt: skip

OTHER_SCHEMES = [
    "ftp://example.test/x", "file:///etc/passwd", "gopher://127.0.0.1:25/", "javascript:alert(1)", "data:text/plain,x",
    "unix:///var/run/x", "ws://example.test/", "dict://127.0.0.1/", "jar:http://example.test!/", "HTTPX://example.test/",
]  # fmt: skip

WITH_CREDENTIALS = [
    "http://user@example.test/", "http://user:secret@example.test/", "http://@example.test/",
    "http://example.test@127.0.0.1/", "http://example.test:80@127.0.0.1:80/", "http://a:b@[::1]/", "http://%40@x.test/",
]  # fmt: skip
