// Stranger reads Magpie's frames off gossipsub, knowing of Magpie only what docs/wire.md says. It is built on
// go-libp2p-pubsub and checks each frame's signature itself.
//
//	stranger MULTIADDR TOPIC COUNT
//
// It connects to MULTIADDR (with its /p2p/ part), follows TOPIC, prints COUNT frames, one JSON object a line, and ends.
// Anything on the topic that is no frame, or no frame of the peer that published it, ends it with exit code 1.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"

	"github.com/libp2p/go-libp2p"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: stranger MULTIADDR TOPIC COUNT")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "stranger:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, address, topicName, countText string) error {
	count, err := strconv.Atoi(countText)
	if err != nil {
		return err
	}
	node, err := peer.AddrInfoFromString(address)
	if err != nil {
		return fmt.Errorf("%s: %w", address, err)
	}
	host, err := libp2p.New(
		libp2p.NoTransports, libp2p.Transport(tcp.NewTCPTransport), libp2p.NoListenAddrs, libp2p.DisableRelay(),
	)
	if err != nil {
		return err
	}
	defer host.Close()
	gossip, err := pubsub.NewGossipSub(ctx, host)
	if err != nil {
		return err
	}
	topic, err := gossip.Join(topicName)
	if err != nil {
		return err
	}
	messages, err := topic.Subscribe()
	if err != nil {
		return err
	}
	if err := host.Connect(ctx, *node); err != nil {
		return fmt.Errorf("cannot connect to %s: %w", address, err)
	}
	fmt.Fprintln(os.Stderr, "stranger: connected")

	lines := json.NewEncoder(os.Stdout)
	for range count {
		message, err := messages.Next(ctx)
		if err != nil {
			return err
		}
		frame, err := verifiedFrame(message.Data)
		if err != nil {
			return fmt.Errorf("%s published %x, which is no frame: %w", message.GetFrom(), message.Data, err)
		}
		if frame.Node != message.GetFrom().String() {
			return fmt.Errorf("%s published a frame of %s", message.GetFrom(), frame.Node)
		}
		if err := lines.Encode(frame); err != nil {
			return err
		}
	}
	return nil
}
