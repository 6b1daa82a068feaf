package inference

import (
	"strings"
	"testing"

	"github.com/haldane-project/haldane/internal/release"
)

// sayings are what a model might answer, in each language that is told.
var sayings = map[string][]string{
	"English": {
		"The canary stopped singing, and the miners knew that the air was bad.",
		"You can install it with the package manager, but it is not the newest version.",
		"Here is a short summary of the text: prices rose in spring and fell again by autumn.",
	},
	"French": {
		"Le canari s'est tu, et les mineurs ont compris que l'air était mauvais.",
		"Vous pouvez l'installer avec le gestionnaire de paquets, mais ce n'est pas la dernière version.",
		"Voici un court résumé du texte : les prix ont augmenté au printemps et baissé en automne.",
	},
	"German": {
		"Der Kanarienvogel verstummte, und die Bergleute wussten, dass die Luft schlecht war.",
		"Sie können es mit der Paketverwaltung einrichten, aber es ist nicht die neueste Fassung.",
		"Hier ist eine kurze Zusammenfassung: Im Frühling stiegen die Preise, und im Herbst fielen sie wieder.",
	},
	"Spanish": {
		"El canario dejó de cantar y los mineros supieron que el aire era malo.",
		"Puede instalarlo con el gestor de paquetes, pero no es la versión más reciente.",
		"Este es un breve resumen del texto: los precios subieron en primavera y bajaron en otoño.",
	},
	"Portuguese": {
		"O canário parou de cantar e os mineiros souberam que o ar não era bom.",
		"Você pode instalar com o gerenciador de pacotes, mas não é a versão mais recente.",
		"Aqui está um breve resumo do texto: os preços subiram na primavera e caíram no outono.",
	},
	"Italian": {
		"Il canarino smise di cantare e i minatori capirono che l'aria non era buona.",
		"Si può installare con il gestore dei pacchetti, ma non è la versione più recente.",
		"Ecco un breve riassunto del testo: i prezzi sono saliti in primavera e scesi in autunno.",
	},
	"Dutch": {
		"De kanarie hield op met zingen en de mijnwerkers wisten dat de lucht slecht was.",
		"Je kunt het met de pakketbeheerder installeren, maar het is niet de nieuwste versie.",
		"Dit is een korte samenvatting van de tekst: in het voorjaar stegen de prijzen en in de herfst daalden ze weer.",
	},
	"Polish": {
		"Kanarek przestał śpiewać i górnicy wiedzieli, że powietrze nie jest dobre.",
		"Można to zainstalować za pomocą menedżera pakietów, ale nie jest to najnowsza wersja.",
		"Oto krótkie streszczenie: ceny wzrosły na wiosnę, a jesienią spadły do poziomu, który był przedtem.",
	},
	"Swedish": {
		"Kanariefågeln slutade sjunga och gruvarbetarna visste att luften inte var bra.",
		"Du kan installera det med pakethanteraren, men det är inte den senaste versionen.",
		"Här är en kort sammanfattning av texten: priserna steg på våren och föll till hösten.",
	},
	"Turkish": {
		"Kanarya şarkı söylemeyi bıraktı ve madenciler bu havanın iyi olmadığını bir anda anladı.",
		"Paket yöneticisi ile kurabilirsiniz, ancak bu en yeni sürüm değil.",
		"Metnin kısa özeti: fiyatlar ilkbaharda çok arttı ve sonbahar için daha düşük bir düzeye indi.",
	},
}

func languageOf(text string, piece int) string {
	var p prose
	for len(text) > 0 {
		n := min(piece, len(text))
		p.write([]byte(text[:n]))
		text = text[n:]
	}
	var a release.Answer
	p.end(&a)
	return a.Language
}

// TestLanguages of one sentence each, in pieces of any size.
func TestLanguages(t *testing.T) {
	if len(sayings) != len(idioms) {
		t.Errorf("sayings of %d languages, of %d that are told", len(sayings), len(idioms))
	}
	for want, texts := range sayings {
		for _, text := range texts {
			for _, piece := range []int{len(text), 1, 3} {
				if got := languageOf(text, piece); got != want {
					t.Errorf("%q in pieces of %d is %q, want %s", text, piece, got, want)
				}
			}
			if got := languageOf(strings.ToUpper(text), 7); got != want && want != "Turkish" { // whose I is another letter
				t.Errorf("in capitals %q is %q, want %s", text, got, want)
			}
		}
	}
	for text, want := range map[string]string{
		"Hello":          "",
		"Done: 42":       "",
		"Größe 12, 3 kg": "",
		"Chim hoàng yến ngừng hót và những người thợ mỏ biết rằng không khí đã xấu rồi": "Latin",
		"Канарейка замолчала, и шахтёры поняли, что воздух испорчен.":                   "",
	} {
		if got := languageOf(text, 5); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

// TestRefusalsInOtherLanguages by how they begin; what only begins a little alike
// is none.
func TestRefusalsInOtherLanguages(t *testing.T) {
	for text, want := range map[string]bool{
		"Je suis désolé, mais je ne peux pas vous aider.":      true,
		"Es tut mir leid, aber dabei kann ich nicht helfen.":   true,
		"Lo siento, pero no puedo ayudarte con eso.":           true,
		"Desculpe, mas não posso ajudar com isso.":             true,
		"Mi dispiace, ma non posso aiutarti.":                  true,
		"Het spijt me, maar ik kan daar niet bij helpen.":      true,
		"Przykro mi, ale nie mogę w tym pomóc.":                true,
		"Tyvärr kan jag inte hjälpa till med det.":             true,
		"Je peux vous aider : voici la recette.":               false,
		"Es gibt drei Wege, und leider ist keiner davon kurz.": false,
		"No puede instalarse sin permisos de administrador.":   false,
		"Dit kan ik uitleggen: eerst komt de installatie.":     false,
	} {
		if got := refuses([]byte(text)); got != want {
			t.Errorf("%q refuses: %v", text, got)
		}
	}
}

func TestLanguageTakesNoMemory(t *testing.T) {
	var p prose
	text := []byte("the canary stopped, and größe ")
	p.write(text)
	if n := testing.AllocsPerRun(100, func() { p.idiom.letter('x'); p.idiom.endWord() }); n != 0 {
		t.Errorf("%v allocations for each word", n)
	}
}
