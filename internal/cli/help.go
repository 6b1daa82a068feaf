package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// help writes the page of one command: what it does, an example to copy, its flags.
func (sh *shell) help(cmd *cobra.Command, _ []string) {
	must(sh.begin())
	w := sh.out
	text := cmd.Long
	if text == "" {
		text = cmd.Short
		if !strings.HasSuffix(text, ".") {
			text += "."
		}
	}
	fmt.Fprintln(w, text)
	if !cmd.Runnable() && !cmd.HasAvailableSubCommands() {
		return // a help topic
	}
	sh.section(w, "Usage")
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(w, "  %s COMMAND [flags]\n", cmd.CommandPath())
	} else {
		fmt.Fprintf(w, "  %s\n", cmd.UseLine())
	}
	if len(cmd.Aliases) > 0 {
		fmt.Fprintf(w, "  also: %s\n", strings.Join(cmd.Aliases, ", "))
	}
	if cmd.Example != "" {
		sh.section(w, "Examples")
		fmt.Fprintln(w, cmd.Example)
	}
	sh.helpCommands(w, cmd)
	sh.helpFlags(w, "Flags", cmd.LocalFlags())
	if cmd.HasParent() {
		sh.helpFlags(w, "Flags of every command", cmd.InheritedFlags())
		return
	}
	fmt.Fprintf(w, "\nMore: %s COMMAND --help\n", cmd.CommandPath())
}

func (sh *shell) section(w io.Writer, title string) {
	fmt.Fprintf(w, "\n%s\n", sh.screen.paint(strong, title+":"))
}

// helpCommands lists commands by group, in the order in which they were added.
func (sh *shell) helpCommands(w io.Writer, cmd *cobra.Command) {
	list := func(title string, in func(*cobra.Command) bool) {
		g := &grid{}
		for _, c := range cmd.Commands() {
			if in(c) {
				g.add("  "+c.Name(), c.Short)
			}
		}
		if len(g.rows) > 0 {
			sh.section(w, title)
			must(g.write(w, sh.screen))
		}
	}
	for _, group := range cmd.Groups() {
		list(strings.TrimSuffix(group.Title, ":"), func(c *cobra.Command) bool { return c.IsAvailableCommand() && c.GroupID == group.ID })
	}
	title := "Commands"
	if len(cmd.Groups()) > 0 {
		title = "Other"
	}
	list(title, func(c *cobra.Command) bool { return c.IsAvailableCommand() && c.GroupID == "" && c.Name() != "help" })
	list("Topics ("+self+" help TOPIC)", (*cobra.Command).IsAdditionalHelpTopicCommand)
}

func (sh *shell) helpFlags(w io.Writer, title string, flags *pflag.FlagSet) {
	g := &grid{}
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		name := "      --" + f.Name
		if f.Shorthand != "" {
			name = "  -" + f.Shorthand + ", --" + f.Name
		}
		kind, usage := pflag.UnquoteUsage(f)
		switch {
		case f.Value.Type() == "bool":
		case kind != "":
			name += " " + strings.ToUpper(kind)
		}
		switch f.DefValue {
		case "", "false", "0", "0s", "[]":
		default:
			usage += " (default " + f.DefValue + ")"
		}
		g.add(name, usage)
	})
	if len(g.rows) > 0 {
		sh.section(w, title)
		must(g.write(w, sh.screen))
	}
}
