package pageviews

import (
	"math/rand/v2"
	"sort"
	"strconv"
)

// page is one thing on the site that can be asked for.
type page struct {
	method string
	path   string
	url    string // as it stands in a referrer
	size   uint32 // bytes, usually
	kind   kind
}

// kind says how a page answers.
type kind uint8

const (
	found kind = iota
	moved
	missing
	action // a POST that changes something: never cached
)

// answer draws status and size of one answer; size 0 is written as a dash.
func (p *page) answer(r *rand.Rand, cached bool) (status string, size uint32) {
	n := r.Uint32N(1000)
	switch {
	case n < 2:
		return "500", 612
	case n == 2:
		return "503", 0
	case p.kind == moved:
		return "301", 169
	case p.kind == missing:
		return "404", 1245
	case p.kind == action && n < 60:
		return "422", 233
	case p.kind == action:
		return "204", 0
	case cached && n < 700:
		return "304", 0
	}
	return "200", p.size + r.Uint32N(p.size/8+1)
}

// site is the map of the web site and how popular each page is.
type site struct {
	pages      []page
	cumulative []uint32 // of the popularity, in the order of pages
}

const origin = "https://www.moldau.example"

// The words that the site's paths are made of.
var (
	sections = []string{"docs", "blog", "shop", "help", "news"}
	subjects = []string{"streams", "brokers", "topics", "offsets", "bridges", "rivers", "maps", "boats", "music", "springs",
		"weather", "trains", "castles", "markets", "gardens", "theatre", "cycling", "coffee", "books", "photos"}
	angles = []string{"guide", "history", "prices", "reviews", "faq", "release-notes", "reference", "tour", "news", "archive"}
)

// newSite lays out the same site every time. The first pages are the most popular ones: the page of rank r is asked for
// in proportion to 1/(r+2), Zipf's law for texts and web pages, in integers so that each platform draws alike.
func newSite() *site {
	s := &site{}
	add := func(method, path string, size uint32, k kind) {
		s.pages = append(s.pages, page{method: method, path: path, url: origin + path, size: size, kind: k})
	}
	add("GET", "/", 14_200, found)
	add("GET", "/docs/quickstart", 18_900, found)
	add("GET", "/search", 9_700, found)
	add("GET", "/robots.txt", 310, found)
	add("GET", "/index.html", 0, moved)
	add("POST", "/api/v1/cart", 0, action)
	add("GET", "/favicon.ico", 4_286, found)
	add("GET", "/login", 5_100, found)
	add("POST", "/api/v1/events", 0, action)
	add("GET", "/wp-login.php", 0, missing)
	for i, subject := range subjects {
		for j, angle := range angles {
			section := sections[(i+j)%len(sections)]
			size := uint32(6_000 + (i*7919+j*104_729)%52_000)
			add("GET", "/"+section+"/"+subject+"/"+angle, size, found)
			if j%4 == 3 {
				add("GET", "/"+section+"/"+subject+"/"+angle+".html", 0, moved)
			}
		}
	}
	for i := range 750 {
		add("GET", "/shop/item/"+strconv.Itoa(1000+i*37), uint32(11_000+i*7919%23_000), found)
	}
	s.popularity()
	return s
}

func (s *site) popularity() {
	var sum uint32
	for rank := range s.pages {
		sum += 1 << 24 / uint32(rank+2)
		s.cumulative = append(s.cumulative, sum)
	}
}

// draw picks a page by popularity and returns its rank.
func (s *site) draw(r *rand.Rand) int {
	n := r.Uint32N(s.cumulative[len(s.cumulative)-1])
	return sort.Search(len(s.cumulative), func(i int) bool { return n < s.cumulative[i] })
}

// agents are the programs that visitors use: views is how many pages such a visitor looks at, at most.
var agents = [...]struct {
	name  string
	views uint16
	robot bool
}{
	{"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/143.0.0.0 Safari/537.36", 14, false},
	{"Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1", 6, false},
	{"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/143.0.0.0 Mobile Safari/537.36", 7, false},
	{"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15", 12, false},
	{"Mozilla/5.0 (X11; Linux x86_64; rv:146.0) Gecko/20100101 Firefox/146.0", 18, false},
	{"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", 200, true},
	{"Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)", 120, true},
	{"curl/8.14.1", 3, true},
}

// agentWeights and referrerWeights are cumulative, in hundredths.
var (
	agentWeights    = []uint32{38, 58, 74, 85, 93, 96, 98, 100}
	referrers       = [...]string{"-", "https://www.google.com/", "https://duckduckgo.com/", "https://news.ycombinator.com/", "https://en.wikipedia.org/wiki/Vltava", "https://lobste.rs/"}
	referrerWeights = []uint32{42, 76, 84, 92, 97, 100}
)
