// A whatsmeow that does what it is told: a command in each line of its input, what happens in each of its output.
//
// peer WEBSOCKET ROOT_KEY FOLDER: the root key of the server's certificates in hex, and the folder of the session.
package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/appstate"
	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/store/sqlstore"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/types/events"
	waLog "go.mau.fi/whatsmeow/util/log"
	"google.golang.org/protobuf/proto"
	_ "modernc.org/sqlite"
)

// A file or a line is no longer than this.
const maxLine = 16 << 20

type fields = map[string]any

type asked struct {
	Command string   `json:"command"`
	To      string   `json:"to"`
	ID      string   `json:"id"`
	Number  string   `json:"number"`
	Text    string   `json:"text"`
	Name    string   `json:"name"`
	Subject string   `json:"subject"`
	Members []string `json:"members"`
	Bytes   []byte   `json:"bytes"`
}

type peer struct {
	ctx    context.Context
	client *whatsmeow.Client
	// Messages that came, by id.
	messages sync.Map
	output   *os.File
	writing  sync.Mutex
}

func main() {
	ctx, output := context.Background(), os.Stdout
	// Its libsignal writes to the output.
	os.Stdout = os.Stderr
	server, rootKey, folder := os.Args[1], os.Args[2], os.Args[3]
	// whatsmeow checks the chain of certificates against this one.
	root := must(hex.DecodeString(rootKey))
	if copy(whatsmeow.WACertPubKey[:], root) != len(whatsmeow.WACertPubKey) {
		panic("a root key has 32 bytes")
	}
	file := filepath.Join(folder, "session.db")
	pragmas := "_pragma=foreign_keys(1)&_pragma=busy_timeout(10000)&_pragma=synchronous(0)&_txlock=immediate"
	log := stderr{waLog.Noop}
	container := must(sqlstore.New(ctx, "sqlite", "file:"+file+"?"+pragmas, log))
	self := &peer{ctx: ctx, output: output, client: whatsmeow.NewClient(must(container.GetFirstDevice(ctx)), log)}
	plain := toSimulator(must(url.Parse(server)).Host)
	self.client.SetPreLoginHTTPClient(plain)
	self.client.SetWebsocketHTTPClient(plain)
	self.client.SetMediaHTTPClient(plain)
	self.client.AddEventHandler(self.happened)
	self.client.EmitAppStateEventsOnFullSync = true

	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var command asked
		if err := json.Unmarshal(lines.Bytes(), &command); err != nil {
			panic(err)
		}
		if answer, err := self.do(command); err != nil {
			self.tell(fields{"error": err.Error()})
		} else {
			self.tell(fields{"answer": answer})
		}
	}
	self.client.Disconnect()
}

// Everything, also what asks for TLS, goes to the simulator, which speaks none.
func toSimulator(address string) *http.Client {
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial, DialTLSContext: dial}}
}

func (self *peer) tell(line fields) {
	self.writing.Lock()
	defer self.writing.Unlock()
	fmt.Fprintln(self.output, string(must(json.Marshal(line))))
}

func (self *peer) do(asked asked) (any, error) {
	ctx, client := self.ctx, self.client
	switch asked.Command {
	case "connect":
		return nil, client.Connect()
	case "disconnect":
		client.Disconnect()
		return nil, nil
	case "pairing-code":
		return client.PairPhone(ctx, asked.Number, true, whatsmeow.PairClientChrome, "Chrome (Linux)")
	case "known":
		known, err := client.IsOnWhatsApp(ctx, []string{"+" + asked.Number})
		return len(known) > 0 && known[0].IsIn, err
	case "send-text":
		return self.send(asked.To, &waE2E.Message{Conversation: proto.String(asked.Text)})
	case "send-document":
		uploaded, err := client.Upload(ctx, asked.Bytes, whatsmeow.MediaDocument)
		if err != nil {
			return nil, err
		}
		return self.send(asked.To, &waE2E.Message{DocumentMessage: &waE2E.DocumentMessage{
			FileName: &asked.Name, Mimetype: proto.String("text/plain"),
			URL: &uploaded.URL, DirectPath: &uploaded.DirectPath, MediaKey: uploaded.MediaKey,
			FileEncSHA256: uploaded.FileEncSHA256, FileSHA256: uploaded.FileSHA256, FileLength: &uploaded.FileLength,
		}})
	case "download":
		message, err := self.message(asked.ID)
		if err != nil {
			return nil, err
		}
		return client.DownloadAny(ctx, message.Message)
	case "read":
		message, err := self.message(asked.ID)
		if err != nil {
			return nil, err
		}
		return nil, client.MarkRead(ctx, []types.MessageID{asked.ID}, time.Now(), message.Info.Chat, message.Info.Sender)
	case "set-name":
		return nil, client.SendAppState(ctx, appstate.BuildSettingPushName(asked.Name))
	case "create-group":
		request := whatsmeow.ReqCreateGroup{Name: asked.Subject}
		for _, member := range asked.Members {
			request.Participants = append(request.Participants, must(jidOf(member)))
		}
		group, err := client.CreateGroup(ctx, request)
		if err != nil {
			return nil, err
		}
		return group.JID.String(), nil
	case "group":
		group, err := client.GetGroupInfo(ctx, must(jidOf(asked.ID)))
		if err != nil {
			return nil, err
		}
		return described(group), nil
	case "groups":
		groups, err := client.GetJoinedGroups(ctx)
		if err != nil {
			return nil, err
		}
		all := []fields{}
		for _, group := range groups {
			all = append(all, described(group))
		}
		return all, nil
	}
	return nil, fmt.Errorf("%q is no command", asked.Command)
}

func (self *peer) send(to string, message *waE2E.Message) (any, error) {
	sent, err := self.client.SendMessage(self.ctx, must(jidOf(to)), message)
	return sent.ID, err
}

func (self *peer) message(id string) (*events.Message, error) {
	found, there := self.messages.Load(id)
	if !there {
		return nil, fmt.Errorf("no message %s", id)
	}
	return found.(*events.Message), nil
}

func (self *peer) happened(event any) {
	switch event := event.(type) {
	case *events.QR:
		self.tell(fields{"event": "qr", "text": event.Codes[0]})
	case *events.PairSuccess:
		self.tell(fields{"event": "closed", "reason": "restart"})
	case *events.PairError:
		self.tell(fields{"event": "closed", "reason": "lost", "code": event.Error.Error()})
	case *events.Connected:
		self.tell(fields{"event": "open", "jid": self.client.Store.ID.String(), "lid": self.client.Store.LID.String()})
	case *events.Disconnected:
		self.tell(fields{"event": "closed", "reason": "lost"})
	case *events.StreamReplaced:
		self.tell(fields{"event": "closed", "reason": "replaced"})
	case *events.LoggedOut:
		self.tell(fields{"event": "closed", "reason": "logged out", "code": event.Reason})
	case *events.PushNameSetting:
		self.tell(fields{"event": "name", "name": event.Action.GetName()})
	case *events.HistorySync:
		self.tell(fields{"event": "history", "chats": len(event.Data.GetConversations())})
	case *events.Receipt:
		kind := "delivered"
		if event.Type == types.ReceiptTypeRead {
			kind = "read"
		}
		for _, id := range event.MessageIDs {
			self.tell(fields{"event": "receipt", "id": id, "kind": kind})
		}
	case *events.Message:
		self.received(event)
	}
}

func (self *peer) received(message *events.Message) {
	text := message.Message.GetConversation()
	if text == "" {
		text = message.Message.GetExtendedTextMessage().GetText()
	}
	document := message.Message.GetDocumentMessage()
	if text == "" && document == nil {
		return
	}
	info := message.Info
	self.messages.Store(info.ID, message)
	told := fields{
		"event": "message", "id": info.ID, "chat": info.Chat.String(), "own": info.IsFromMe, "name": info.PushName,
		"text": text, "file": document.GetFileName(),
	}
	if info.IsGroup {
		told["sender"] = info.Sender.ToNonAD().String()
	}
	self.tell(told)
}

func described(group *types.GroupInfo) fields {
	members := []string{}
	for _, member := range group.Participants {
		members = append(members, member.JID.String())
	}
	slices.Sort(members)
	return fields{"id": group.JID.String(), "subject": group.Name, "members": members}
}

func jidOf(to string) (types.JID, error) {
	if !strings.Contains(to, "@") {
		return types.NewJID(to, types.DefaultUserServer), nil
	}
	return types.ParseJID(to)
}

// Warnings and errors, on the side.
type stderr struct{ waLog.Logger }

func (stderr) Warnf(text string, about ...any)  { fmt.Fprintf(os.Stderr, text+"\n", about...) }
func (stderr) Errorf(text string, about ...any) { fmt.Fprintf(os.Stderr, text+"\n", about...) }
func (log stderr) Sub(string) waLog.Logger      { return log }

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
