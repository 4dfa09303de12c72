// An API for load and fault tests: fast, faulty on demand, and able to say what was asked of it.
//
//	GET  /items/{id}   a JSON record of 495 bytes; the same id gives the same record until it is changed
//	GET  /log          what arrived: requests, distinct and repeated ids, faults, the most in flight, workers
//	POST /forget       empty the log
//	POST /set?k=v      change a setting while running; the settings are the flags below
//
// Faults are drawn for each request on its own, in per cent.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	bodyBytes = 495
	maxIDs    = 4 << 20
)

var (
	latencyMS = flag.Int64("latency_ms", 0, "milliseconds before an answer")
	p503      = flag.Float64("p503", 0, "per cent answered 503")
	pReset    = flag.Float64("preset", 0, "per cent of connections reset")
	pHang     = flag.Float64("phang", 0, "per cent never answered")
	pTruncate = flag.Float64("ptruncate", 0, "per cent with half a body")
	changed   = flag.Int64("changed", 0, "so many records, spread evenly over `of`, have a new value")
	of        = flag.Int64("of", 10000, "how many records there are, for `changed`")
	revision  = flag.Int64("revision", 1, "the value that changed records have")
	bearer    = flag.String("bearer", "", "the token to ask for; empty: none")
	addr      = flag.String("addr", "127.0.0.1:0", "where to listen")
	procs     = flag.Int("procs", 2, "threads")

	requests, ok, n503, nReset, nHang, nTruncate, n401 int64
	inFlight, maxInFlight, connections                 int64
	seen                                               [maxIDs]uint32
	workers                                            sync.Map
	filler                                             = bytes.Repeat([]byte("abcdefghij"), 50)
	settings                                           sync.RWMutex
	faulty                                             atomic.Bool
)

func record(id int64) []byte {
	value := int64(0)
	if *changed > 0 && id%(*of / *changed) == 0 {
		value = *revision
	}
	body := make([]byte, 0, bodyBytes)
	body = append(body, `{"id":`...)
	body = strconv.AppendInt(body, id, 10)
	body = append(body, `,"value":`...)
	body = strconv.AppendInt(body, value, 10)
	body = append(body, `,"price":12.5,"active":true,"tags":["a","b","c"],"text":"`...)
	body = append(body, filler[:bodyBytes-2-len(body)]...)
	return append(body, `"}`...)
}

func items(ctx *fasthttp.RequestCtx, name []byte) {
	id, err := strconv.ParseInt(string(name), 10, 64)
	if err != nil || id < 0 || id >= maxIDs {
		ctx.SetStatusCode(404)
		return
	}
	atomic.AddInt64(&requests, 1)
	atomic.AddUint32(&seen[id], 1)
	if worker := ctx.Request.Header.Peek("X-Asgard-Worker"); len(worker) > 0 {
		count, known := workers.Load(string(worker))
		if !known {
			count, _ = workers.LoadOrStore(string(worker), new(int64))
		}
		atomic.AddInt64(count.(*int64), 1)
	}
	now := atomic.AddInt64(&inFlight, 1)
	for most := atomic.LoadInt64(&maxInFlight); now > most; most = atomic.LoadInt64(&maxInFlight) {
		if atomic.CompareAndSwapInt64(&maxInFlight, most, now) {
			break
		}
	}
	defer atomic.AddInt64(&inFlight, -1)
	settings.RLock()
	latency, token := *latencyMS, *bearer
	a, b, c, d := *p503, *pReset, *pHang, *pTruncate
	body := record(id)
	settings.RUnlock()
	if latency > 0 {
		time.Sleep(time.Duration(latency) * time.Millisecond)
	}
	if token != "" && string(ctx.Request.Header.Peek("Authorization")) != "Bearer "+token {
		atomic.AddInt64(&n401, 1)
		ctx.SetStatusCode(401)
		return
	}
	if faulty.Load() {
		drawn := rand.Float64() * 100
		switch {
		case drawn < a:
			atomic.AddInt64(&n503, 1)
			ctx.SetStatusCode(503)
			return
		case drawn < a+b:
			atomic.AddInt64(&nReset, 1)
			ctx.HijackSetNoResponse(true)
			ctx.Conn().(*net.TCPConn).SetLinger(0)
			ctx.Hijack(func(c net.Conn) {})
			return
		case drawn < a+b+c:
			atomic.AddInt64(&nHang, 1)
			ctx.HijackSetNoResponse(true)
			// Until the client gives up: reading ends when it closes.
			ctx.Hijack(func(c net.Conn) { c.Read(make([]byte, 1)) })
			return
		case drawn < a+b+c+d:
			atomic.AddInt64(&nTruncate, 1)
			ctx.HijackSetNoResponse(true)
			ctx.Hijack(func(c net.Conn) {
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", len(body))
				c.Write(body[:len(body)/2])
			})
			return
		}
	}
	atomic.AddInt64(&ok, 1)
	ctx.Response.Header.SetContentType("application/json")
	ctx.Response.SetBodyRaw(body)
}

func log(ctx *fasthttp.RequestCtx) {
	distinct, repeated := int64(0), int64(0)
	for index := range seen {
		if count := int64(atomic.LoadUint32(&seen[index])); count > 0 {
			distinct++
			repeated += count - 1
		}
	}
	by := map[string]int64{}
	workers.Range(func(worker, count any) bool { by[worker.(string)] = atomic.LoadInt64(count.(*int64)); return true })
	json.NewEncoder(ctx).Encode(map[string]any{
		"requests": requests, "ok": ok, "503": n503, "resets": nReset, "hangs": nHang, "truncated": nTruncate,
		"401": n401, "distinct": distinct, "repeated": repeated, "max_in_flight": maxInFlight,
		"connections": connections, "workers": by,
	})
}

func forget() {
	for _, counter := range []*int64{&requests, &ok, &n503, &nReset, &nHang, &nTruncate, &n401, &maxInFlight, &connections} {
		atomic.StoreInt64(counter, 0)
	}
	for index := range seen {
		atomic.StoreUint32(&seen[index], 0)
	}
	workers.Clear()
}

func set(ctx *fasthttp.RequestCtx) {
	settings.Lock()
	defer settings.Unlock()
	ctx.QueryArgs().VisitAll(func(key, value []byte) {
		if err := flag.Set(string(key), string(value)); err != nil {
			ctx.SetStatusCode(400)
			ctx.WriteString(err.Error())
		}
	})
	faulty.Store(*p503+*pReset+*pHang+*pTruncate > 0)
}

func handle(ctx *fasthttp.RequestCtx) {
	path := ctx.Path()
	switch {
	case bytes.HasPrefix(path, []byte("/items/")):
		items(ctx, path[len("/items/"):])
	case bytes.Equal(path, []byte("/log")):
		log(ctx)
	case bytes.Equal(path, []byte("/forget")):
		forget()
	case bytes.Equal(path, []byte("/set")):
		set(ctx)
	default:
		ctx.SetStatusCode(404)
	}
}

func main() {
	flag.Parse()
	runtime.GOMAXPROCS(*procs)
	faulty.Store(*p503+*pReset+*pHang+*pTruncate > 0)
	listener, err := net.Listen("tcp4", *addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("http://%s\n", listener.Addr())
	server := &fasthttp.Server{
		Handler: handle, Concurrency: 100000, Name: "mock",
		ConnState: func(_ net.Conn, state fasthttp.ConnState) {
			if state == fasthttp.StateNew {
				atomic.AddInt64(&connections, 1)
			}
		},
	}
	if err := server.Serve(listener); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
